"""A job among others, on one machine or many: nothing here knows what is trained.

`site` describes a cluster and `folders` asks whether results can be written; `head` keeps to one Snakemake per study,
`lease` to one process per job, `gpu_slots` to what a GPU was divided for; `supervise` decides what becomes of a job that ends.
"""
