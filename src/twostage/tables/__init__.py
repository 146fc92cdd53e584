"""The tables: numbers as CSV and a page for the report, beside what the paper prints. They fit nothing themselves.

`table` is what all have in common. `setup` makes Tables 3 to 5, `laws` 1, 2 and 7, `sizes` 8 (`maker` chooses among
them by name), `downstream` 6; `alpha3`, `crossover` and `not_drawn` are ours, and `summary` puts all on one page.
"""
