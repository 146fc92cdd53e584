"""Every figure and table, declared once, and which of them a study gets: pure functions that parsing the DAG can afford.

`figure_entries` and `table_entries` hold the declarations (`entry` is their form); `catalogue` says which a study gets, and why
not the others; `schema` adds their names to the study's JSON schema. What a study lacks: `obstacles`. `presentation`,
`comparisons`, `controls` and `joint_design` choose the methods, curves, controls and laws that they are made from;
`given_tables` checks tables measured elsewhere. Fitting is done in `analysis`, drawing in `figures` and `tables`.
"""
