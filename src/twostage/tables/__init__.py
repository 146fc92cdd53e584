"""Makes the tables: numbers for a CSV file and a page for the report, with the paper's numbers for comparison.

`table` has the common type. `setup` makes Tables 3 to 5, `laws` 1, 2 and 7, `sizes` 8, and `downstream` 6; `maker`
selects one by name. `alpha3`, `crossover` and `not_drawn` make tables that the paper does not have. `summary` puts all results on one page.
"""
