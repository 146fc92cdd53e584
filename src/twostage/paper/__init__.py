"""The numbers that arXiv 2510.06548 printed, as package data (`data/`), and what they reproduce.

`published` reads them; `reproduction` recomputes claims of the paper from its coefficients, and `reproduction_page`
writes them as a page. Imports `laws`.
"""
