"""Declarations of all figures and tables, and functions that select those of a study. They are fast, for parsing the DAG.

`figure_entries` and `table_entries` hold the declarations (of the classes in `entry`); `catalogue` selects those of a study and gives
the reason for the others; `schema` adds their names to the study's JSON schema. `obstacles` describes what a study lacks. `presentation`,
`comparisons`, `controls` and `joint_design` choose the methods, curves, controls and laws that they are made from;
`given_tables` checks tables measured elsewhere. Fitting is done in `analysis`, drawing in `figures` and `tables`.
"""
