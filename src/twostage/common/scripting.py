"""Entry point of every script in workflow/scripts: runs it and reports a user's mistake as one line.

Bad input (`ValueError`, `UserError` included), missing files and missing extras are reported as `error: ...` with exit
code 2. Programming errors keep their traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from twostage.common.extras import missing_extras_named

EXIT_BAD_INPUT = 2


def run_script(function: Callable[[], None]) -> None:
    """Run `function`; on a user's mistake print `error: ...` to stderr and exit with code 2."""
    try:
        with missing_extras_named():
            function()
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_BAD_INPUT)
