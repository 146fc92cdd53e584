"""The console of commands that print tables."""

from __future__ import annotations

from rich.console import Console

#: Columns of text that the widest table needs.
_MIN_WIDTH = 136
#: In a file or a pipe, no line is broken, so that file names stay in one piece.
_UNLIMITED = 10_000


def make_console(piped_width: int = _UNLIMITED) -> Console:
    """Return a console that is wide enough for all columns, even if the terminal is not.

    Args:
        piped_width: columns in a file or a pipe; limit it for tables of sentences.
    """
    console = Console()
    if not console.is_terminal:
        return Console(width=piped_width)
    return Console(width=max(console.width, _MIN_WIDTH))
