"""Losses of second-stage training that others measured, as package data (`data/*.csv`), with their sources.

`bundled` lists and reads them: each has its origin, licence, citation, columns and changes in `data/sources.yaml`. The paper's
printed numbers are in `paper`, our own losses in `results/reference/`. Imports `common`.
"""
