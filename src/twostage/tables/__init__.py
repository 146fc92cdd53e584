"""The tables: numbers as CSV and a page for the report, with the paper's numbers. They use existing fits.

`table` has their common parts. `setup` makes Tables 3 to 5, `laws` 1, 2 and 7, `sizes` 8, `downstream` 6; `alpha3`,
`crossover` and `not_drawn` are ours, and `summary` puts all on one page. They are declared in `catalogue.table_entries`.
"""
