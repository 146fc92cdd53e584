"""What a study will cost, before anything runs: arithmetic for `plan`, rules and profiles.

`jobs` says what is needed (`dag` counts it by rule), `disk` and `billing` what it takes in bytes, hours and dollars;
`walltime` and `packing` are what a job asks of a cluster. Speeds are measured (`throughput`) or a GPU's peak (`device_peaks`).
"""
