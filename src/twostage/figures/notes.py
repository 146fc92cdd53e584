"""A note below the panels of a figure, for the source of its laws and their limits."""

from __future__ import annotations

import textwrap

from matplotlib.figure import Figure

_FONT_POINTS = 6.5
_CHARACTERS_PER_INCH = 20  # of this font, with room to spare


def add_note(figure: Figure, note: str) -> None:
    """Write `note` below the panels, wrapped to the width of the figure. Line breaks are kept; an empty note is skipped."""
    if not note:
        return
    columns = int(figure.get_figwidth() * _CHARACTERS_PER_INCH)
    lines = [line for paragraph in note.splitlines() for line in textwrap.wrap(paragraph, columns)]
    figure.supxlabel("\n".join(lines), fontsize=_FONT_POINTS, x=0.02, ha="left")
