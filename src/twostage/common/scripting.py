"""Entry point of every script in workflow/scripts: reports errors of the user in one line.

Invalid input (`ValueError`, which includes `UserError`), missing files and missing extras are reported as `error: ...` with
exit code 2, and a full disk with exit code 1. All other errors keep their traceback.
"""

from __future__ import annotations

import errno
import shutil
import sys
from collections.abc import Callable

from twostage.common.extras import missing_extras_named

EXIT_BAD_INPUT = 2
#: Not invalid input: on a cluster, the job is tried again.
EXIT_DISK_FULL = 1


def run_script(function: Callable[[], None]) -> None:
    """Run `function`; on a user's mistake print `error: ...` to stderr and exit with code 2."""
    try:
        with missing_extras_named():
            function()
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_BAD_INPUT)
    except OSError as error:
        if not is_disk_full(error):
            raise
        sys.stderr.write(f"error: {disk_full(error)}\n")
        sys.exit(EXIT_DISK_FULL)


def is_disk_full(error: OSError) -> bool:
    """Return whether a write failed because the disk or the quota is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full(error: OSError) -> str:
    """Return the message for a full disk."""
    where = error.filename or "the working directory's disk"
    return (
        f"{where}: {error.strerror}; {shutil.disk_usage('.').free / 1e9:.1f} GB are free in the working directory. Make room (or "
        "raise the quota) and run the same command again: finished jobs are kept"
    )
