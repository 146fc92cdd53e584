"""Declares every figure and table once, and says which of them a study gets.

`figure_entries` and `table_entries` hold the declarations, which are objects of the classes in `entry`. `lookup` lists those
that a study gets, with the reason for each that it does not get (`obstacles`). `shown_methods`, `compared_methods`,
`scratch_controls` and `laws_over_sizes` select the methods, loss curves, from-scratch models and laws that are shown.
`imported_tables` checks tables that were measured elsewhere. `schema` adds the names to the JSON schema of study files. Fits are computed in `analysis`; figures and tables
are made in `figures` and `tables`. All functions are pure and import neither pandas nor torch, because Snakemake calls them
each time it builds the DAG.
"""
