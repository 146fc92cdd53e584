"""From a study's measured cells and curves to the numbers behind its figures and tables, by the laws of `laws`.

`cells` gathers and reads the measured losses, `curves_table` the loss curves, `imported` checks tables measured elsewhere.
One method and size: `method_fit`, with `curves` on `power_law`, and `alpha3`. All sizes: `joint_fit`; both stages:
`unified_fit`. Against models from scratch: `measured_crossover`, `crossover_fits`. Gradients: `norm_slope`. Over seeds:
`over_seeds`. The paper's claims: `claims`. `sources` opens the files of one figure or table. `estimate_text` writes numbers with their intervals.
"""
