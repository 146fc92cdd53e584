"""`python -m twostage.cli`: the command where the package's scripts are not on the path."""

import sys

from twostage.cli import main

sys.exit(main())
