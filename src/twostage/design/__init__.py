"""What a study implies: the grid, its runs, their paths and identities, the cost of an update. Without torch or disk.

`design` (`Design`: runs, segments, branches, cells), `paths` (where each lies), `trunk_points` (which lengths a trunk has),
`schedule` (learning rates), `specs` (identities of jobs), `flops` and `device_peaks`
(arithmetic of one token, peak speeds of devices). Imports `study`, `methods` and `common`.
"""
