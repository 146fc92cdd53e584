"""`python -m twostage.cli`: the command `twostage`, for environments whose scripts are not on PATH."""

import sys

from twostage.cli import main

sys.exit(main())
