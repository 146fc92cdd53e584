"""What the job of `train.py` consists of.

One update: `trainer`, `clipping`, `master_weights`, `megatron_cpu`, `transformer_engine_names`. Many: `loop`, `prefetch`,
`heldout`, `progress`, `metrics`. Where it runs: `layout`, `micro_batch`, `ranks`, `launch`. What survives it: `state` and
`optimizer_state` (whole training states), `rolling`, `rolling_saves` and `background` (a job's own restarts).
"""
