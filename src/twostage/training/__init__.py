"""The training job.

`train` is the job. One update: `trainer`, `clipping`. Many: `loop`, `prefetch`, `heldout`, `progress`, `metrics`. Where it
runs: `layout`, `micro_batch`, `launch`. What it keeps: `state` (whole training states), `rolling`, `rolling_saves` and
`background` (a job's own restarts). `grow` is the job that grows a checkpoint. Imports `model`, `corpora`, `cluster`, `design`.
"""
