"""The numbers that arXiv 2510.06548 printed, as package data (`data/`), and what they reproduce.

`published` reads them; `reproduction` recomputes claims of the paper from its coefficients, which
`docs/write_published.py` writes as a page. Imports `laws`.
"""
