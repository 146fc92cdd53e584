"""Draws the figures, one module each: `draw(...)` takes tables and returns a Figure and the plotted numbers.

The draw functions are pure. `workflow/scripts` read the tables and write the files with `style.save_figure`.
"""
