"""Losses and scores of finished checkpoints.

`evaluate` measures a held-out loss; `downstream_spec` says which checkpoints answer benchmark tasks, `downstream` runs them.
Imports `training`, `model`, `corpora`, `design`.
"""
