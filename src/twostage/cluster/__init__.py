"""Coordination of processes and jobs on one machine or a cluster, independent of what the jobs do.

`site` describes a cluster, `device_peaks` has the peak FLOP/s of GPUs; `folders` checks whether results can be written. `head` allows one Snakemake per study, `lease` one
process per job, and `gpu_slots` a fixed number of jobs per GPU. `supervise` runs a job's command and decides whether Slurm
requeues it. Imports `common`.
"""
