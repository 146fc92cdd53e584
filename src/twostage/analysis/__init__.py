"""From a study's measured cells and curves to the numbers behind its figures and tables, by the laws of `laws`.

One method and size: `method_fit`, with `curves` on `power_law`, and `alpha3`. All sizes: `joint_fit`; both stages:
`unified_fit`. Against models from scratch: `measured_crossover`, `crossover_fits`. Gradients: `norm_slope`. Over seeds: `over_seeds`. All of it
beside what the paper says: `claims`. What comes in: `curves_table` gathers
loss curves from the runs, `imported` checks tables that were measured elsewhere.
"""
