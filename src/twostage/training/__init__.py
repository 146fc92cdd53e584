"""The training job.

`train` is the job. `trainer` and `clipping` make one update; `loop`, `prefetch`, `heldout`, `progress` and `metrics` make a run of
updates. `layout`, `micro_batch` and `launch` adapt the job to its machine. `state` reads and writes training states; `rolling`,
`rolling_saves` and `background` handle the states from which an interrupted job resumes. `grow` is the job that grows a
checkpoint. Imports `model`, `corpora`, `cluster`, `design`, `study` and `common`.
"""
