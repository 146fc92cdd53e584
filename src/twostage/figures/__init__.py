"""The figures, one module each: `draw_study(study, sources)` returns a `style.Drawing`, the figure and the plotted numbers.

Most leave the drawing to a pure function `draw` of tables and fits. They are declared in `catalogue.figure_entries`.
"""
