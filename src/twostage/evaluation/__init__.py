"""Losses and scores of finished checkpoints.

`evaluate` measures a held-out loss. `downstream_spec` selects the checkpoints for benchmark tasks, `downstream` evaluates them.
Imports `training`, `model`, `corpora`, `design`, `study` and `common`.
"""
