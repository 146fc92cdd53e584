"""The exception for errors that a user can fix: invalid study files, missing or damaged inputs.

Its message names the key, file or row and the fix. Scripts print it without a traceback (see `scripting.py`).
"""

from __future__ import annotations


class UserError(ValueError):
    """Invalid input. The message says what is wrong, where, and how to fix it."""
