"""The cost of a study before it runs, its progress, and the archive of its results.

`jobs` lists the jobs of a study and `dag` counts them by rule. `disk` gives the bytes of their checkpoints, `billing` their
hours and dollars, and `plan` the totals. `walltime` gives a cluster job's GPUs, minutes and memory, from measured speeds
(`throughput`, `calibrate`) if there are any. `recorded` compares finished outputs with the study, `changes` says what an edit
costs, `status` finds what is done, `archive` stores the results. Imports `catalogue`, `cluster`,
`corpora` and `design`.
"""
