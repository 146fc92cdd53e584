"""Everything that follows from a study: its runs, their paths and identities, and FLOPs. No torch, no disk access.

`design` (`Design`: runs, segments, branches, cells), `paths` (their files), `trunk_points` (where a trunk is cut),
`schedule` (learning rates), `specs` (identities of jobs), `flops` (FLOPs and bytes of a model). Imports `study`, `methods` and `common`.
"""
