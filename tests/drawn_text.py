"""Checks of the texts on a figure: none is clipped, none overlaps another. Shared by tests of figures."""

from __future__ import annotations

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def texts_of(figure):
    """Visible texts with their extents in pixels, after layout."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    # Matplotlib keeps labels of ticks outside the view, but does not draw them.
    beyond = set()
    for axis in itertools.chain.from_iterable((axes.xaxis, axes.yaxis) for axes in figure.axes):
        low, high = sorted(axis.get_view_interval())
        beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in beyond]
    return [(t.get_text(), t.get_window_extent(renderer)) for t in found]


def assert_inside(figure):
    """Assert that no text is clipped."""
    box = figure.bbox
    for text, extent in texts_of(figure):
        inside = extent.x0 >= box.x0 and extent.x1 <= box.x1 and extent.y0 >= box.y0 and extent.y1 <= box.y1
        assert inside, (text, extent, box)


def assert_apart(texts):
    """Assert that no two texts overlap; `texts`: as `texts_of` returns them."""
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0, (one, other)
