"""Read the jobs' records of an archive."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from twostage.planning.archive import RECORDS


def read_records(archive: Path) -> dict[str, dict[str, Any]]:
    """Return every job's record by its path in the results folder."""
    with gzip.open(archive / RECORDS, "rt", encoding="utf-8") as stream:
        records = [json.loads(line) for line in stream]
    return {record.pop("file"): record for record in records}
