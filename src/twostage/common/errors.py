"""The one exception for mistakes a user can fix: bad study files, missing or damaged inputs.

Its message names the key, file or row and the fix; scripts print it without a traceback (see `scripting.py`).
"""

from __future__ import annotations


class UserError(ValueError):
    """Bad input; the message says what is wrong, where, and what to do about it."""
