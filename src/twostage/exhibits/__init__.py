"""Which figures and tables a study gets, and what each of them shows: pure functions that parsing the DAG can afford.

`catalogue` lists them all with what a study lacks; `presentation`, `comparisons`, `controls` and `joint_design` choose the
methods, curves, controls and laws that they are made from. Fitting is done in `analysis`, drawing in `figures` and `tables`.
`schema` writes the JSON schema of study files.
"""
