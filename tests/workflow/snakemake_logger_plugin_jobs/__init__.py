"""Snakemake logger plugin `--logger jobs`, for tests: each planned job as a line of JSON, into the file $JOBS_FILE."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """Writes rule, wildcards, threads and resources."""

    def __post_init__(self) -> None:
        self._file = Path(os.environ["JOBS_FILE"])

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == LogEvent.JOB_INFO:
            job = {
                "rule": record.rule_name,
                "wildcards": dict(record.wildcards),
                "threads": record.threads,
                "resources": dict(record.resources.items()),
            }
            with self._file.open("a") as stream:
                stream.write(json.dumps(job, default=str) + "\n")

    @property
    def writes_to_stream(self) -> bool:
        return False

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
