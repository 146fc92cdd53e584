"""The figures of the paper, one module each: `draw(...)` takes tables and returns a Figure and the plotted numbers.

Pure functions: reading cells and writing files is done by `workflow/scripts` through `style.save_figure`.
"""
