"""Snakemake logger plugin `--logger twostage`: a live view in a terminal, plain lines elsewhere.

Shows the progress of a run without Snakemake's routine messages. Warnings, errors and all messages that are not known to
be routine are printed. Dry runs, `--verbose` and `--debug-dag` show Snakemake's own output (dry runs without its banner).
Jobs report their progress in their log files (see `logs.ProgressLine`), not through this plugin.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from .logs import last_progress
from .plain import end_line, finished_line, log_tail, start_line
from .state import Run

# Snakemake imports every installed plugin at each start, so rich and snakemake are only imported where needed.
if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

# Messages of every normal run, which are not printed. All others are, so that no message of a new Snakemake release is
# hidden.
_ROUTINE_EVENTS = (
    LogEvent.DEBUG_DAG,
    LogEvent.GROUP_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.RULEGRAPH,
    LogEvent.WORKFLOW_STARTED,
)
_ROUTINE = (
    "Assuming unrestricted shared filesystem usage",
    "Building DAG of jobs...",
    "Conda environments: ignored",
    "Elapsed time: ",
    "Select jobs to execute...",
    "Shutting down, this might take some time.",
    "Singularity containers: ignored",
    "Using shell: ",
)
_COMPLETE_LOG = "Complete log(s): "
_RESTART = "Trying to restart job "


def _words(text: str) -> str:
    """Return the text with single spaces, to compare commands with different indentation."""
    return " ".join(text.split())


def _dry_run(keep: logging.Filter, record: logging.LogRecord) -> bool:
    """Filter for dry runs: what Snakemake prints, without its banner, and with the job counts even for --quiet."""
    event = getattr(record, "event", None)
    if event == LogEvent.RUN_INFO:
        return True
    routine = event is None and record.levelno <= logging.INFO and record.getMessage().startswith(_ROUTINE)
    return event != LogEvent.WORKFLOW_STARTED and not routine and bool(keep.filter(record))


class LogHandler(LogHandlerBase):
    """Log handler. Snakemake calls it with one record at a time, from a separate thread."""

    @property
    def writes_to_stream(self) -> bool:
        """True: replaces Snakemake's own stream handler."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """False: does not replace Snakemake's log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """True: Snakemake's own filter would drop job errors for `--quiet rules`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """True: formats records itself."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """False: does not use the rule graph."""
        return False

    def __post_init__(self) -> None:
        """Choose between Snakemake's own output, the live view and plain lines."""
        from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter

        settings = self.common_settings
        self._stream = sys.stdout if settings.stdout else sys.stderr
        self._format_like_snakemake = DefaultFormatter(None, settings.show_failed_logs).format
        self._snakemake: logging.Handler | None = None
        if settings.dryrun or settings.verbose or settings.debug_dag:
            formatter = DefaultFormatter(settings.quiet, settings.show_failed_logs)
            self._snakemake = ColorizingTextHandler(settings.nocolor, self._stream, formatter)
            keep = DefaultFilter(
                settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
            )
            self._snakemake.addFilter(
                keep if settings.verbose or settings.debug_dag else partial(_dry_run, keep)
            )
        self._console: Console | None = None
        if self._stream.isatty():
            from rich.console import Console

            console = Console(file=self._stream, no_color=settings.nocolor or None, highlight=False)
            self._console = None if console.is_dumb_terminal else console
        self._live: Live | None = None
        self._run: Run | None = None
        self._state_lock = threading.Lock()  # the live view reads the state from its refresh thread
        self._remote = self._announced = False
        self._snakemake_log: str | None = None
        self._last_error = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one record. If this plugin fails, print the record unchanged so that it is not lost."""
        try:
            if self._snakemake is not None:
                self._snakemake.handle(record)
            else:
                self._handle(record)
        except BrokenPipeError:
            pass  # the reader of the output (e.g. `| head`) has exited; the run continues
        except Exception:
            self.handleError(record)
            self._stream.write(f"{record.getMessage()}\n")

    def close(self) -> None:
        """Stop the live view and print how the run ended."""
        live, run = self._live, self._run
        self._live = self._run = None
        if live is not None:
            live.stop()
        if run is not None and not self.common_settings.quiet:
            self._announce(run)
            style = "green" if run.done >= run.total else "bold red"
            self._print(end_line(run, time.time(), self._snakemake_log), style)
        super().close()

    def _handle(self, record: logging.LogRecord) -> None:
        event, now = getattr(record, "event", None), record.created
        if event == LogEvent.RUN_INFO:
            self._start(record, now)
        elif event == LogEvent.RESOURCES_INFO:
            self._remote = self._remote or hasattr(record, "nodes")
        elif event in (LogEvent.JOB_INFO, LogEvent.JOB_FINISHED, LogEvent.PROGRESS):
            if self._run is not None:
                self._count(record, self._run, now)
        elif event == LogEvent.SHELLCMD:
            command = getattr(record, "shellcmd", None) or getattr(record, "cmd", None)
            if self.common_settings.printshellcmds and command:
                self._print(command, "dim")
        elif event in (LogEvent.JOB_ERROR, LogEvent.GROUP_ERROR):
            self._job_error(record, now)
        elif record.levelno >= logging.WARNING:
            text = self._format_like_snakemake(record)
            self._last_error = text if event == LogEvent.ERROR else self._last_error
            self._print(text, "red" if record.levelno >= logging.ERROR else "yellow")
        elif event not in _ROUTINE_EVENTS:
            self._message(record.getMessage())

    def _start(self, record: Any, now: float) -> None:
        self._run = run = Run.from_stats(record.stats, now, remote=self._remote)
        if self._console is None or self.common_settings.quiet:
            return
        from rich.live import Live

        self._announced = True  # the live view shows the same
        render = partial(self._render, run, self._console)
        self._live = Live(console=self._console, get_renderable=render, refresh_per_second=2, transient=True)
        self._live.start()

    def _render(self, run: Run, console: Console) -> RenderableType:
        """Return the current view. Called by the live view's refresh thread."""
        from .view import render

        now, rows = time.time(), max(3, console.size.height - 12)
        with self._state_lock:
            for job in list(run.running.values())[:rows]:
                if job.logs:
                    job.update(last_progress(job.logs[0], since=job.started), now)
            return render(run, now, max_jobs=rows)

    def _count(self, record: Any, run: Run, now: float) -> None:
        line = ""
        with self._state_lock:
            if record.event == LogEvent.JOB_INFO:
                run.job_started(record.jobid, record.rule_name, record.output or [], record.log or [], now)
            elif record.event == LogEvent.PROGRESS:
                run.set_progress(record.done, record.total)
            else:
                job = run.job_finished(record.job_id, now)
                if job is not None and job.logs:
                    job.update(last_progress(job.logs[0], since=job.started), now)
                line = finished_line(run, job, now)
        if self._live is None and not self.common_settings.quiet:
            self._announce(run)
            if line:
                self._print(line)

    def _announce(self, run: Run) -> None:
        """Print the first plain line. Called once a job has started, because the study's name is taken from its outputs."""
        if not self._announced:
            self._announced = True
            self._print(start_line(run))

    def _job_error(self, record: Any, now: float) -> None:
        record = copy.copy(record)
        if record.event == LogEvent.JOB_ERROR:
            record.msg = record.rule_msg  # if it is None, Snakemake would print "message: None"
            # The failed command was already printed with its exception.
            if record.shellcmd and _words(record.shellcmd) in _words(self._last_error):
                record.shellcmd = None
        text = self._format_like_snakemake(record)
        if record.event == LogEvent.JOB_ERROR:
            if self._run is not None:
                with self._state_lock:
                    self._run.job_failed(record.jobid, now)
            if record.log and not self.common_settings.show_failed_logs:
                text = f"{text}\n{log_tail(record.log)}"
        self._print(text, "red")

    def _message(self, text: str) -> None:
        if text.startswith(_COMPLETE_LOG):
            self._snakemake_log = text.removeprefix(_COMPLETE_LOG)
        elif text.startswith(_RESTART) and self._run is not None:
            with self._state_lock:
                self._run.job_restarts()
            self._print(text, "yellow")
        elif text not in ("", "None") and not text.startswith(_ROUTINE):
            self._print(text)

    def _print(self, text: str, style: str = "") -> None:
        """Print in the terminal above the live view, or as a plain line."""
        if self._console is not None:
            from rich.text import Text

            # As Text, because print(style=...) would also apply to the live view that rich redraws below.
            self._console.print(Text(text, style=style), soft_wrap=True)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()
