"""Declares every figure and table once, and says which of them a study gets.

`figure_entries` and `table_entries` hold the declarations, which are objects of the classes in `entry`. `catalogue` lists those
that a study gets, with the reason for each that it does not get (`obstacles`). `presentation`, `comparisons`, `controls` and
`joint_design` select the methods, loss curves, from-scratch models and laws that are shown. `given_tables` checks tables that were
measured elsewhere. `schema` adds the names to the JSON schema of study files. Fits are computed in `analysis`; figures and tables
are made in `figures` and `tables`. All functions are pure and import neither pandas nor torch, because Snakemake calls them
each time it builds the DAG.
"""
