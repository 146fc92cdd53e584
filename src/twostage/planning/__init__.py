"""What a study will cost, and what of it is done.

`jobs` lists the jobs (`dag` counts them by rule), `disk` and `billing` their bytes, hours and dollars; `plan` sums them up;
`walltime` is what a job asks of a cluster, from measured speeds (`throughput`). `status` compares with the
disk; `archive` keeps the results. Imports `exhibits`, `cluster`, `corpora`, `design`.
"""
