"""Computes the numbers behind a study's figures and tables from its measured cells and loss curves.

Tables: `cells` gathers and reads the measured losses, `curves_table` the loss curves; `imported` checks tables that were
measured elsewhere. Fits of one method and model size: `method_fit`, `power_laws` (with `power_law_solver`), `alpha3`.
Fits over all sizes: `joint_fit`; over both stages: `unified_fit`. Comparison with models trained from scratch:
`measured_crossover`, `crossover_fits`. Gradient norms: `norm_slope`. Means over seeds: `over_seeds`. The paper's claims:
`claims`. Numbers with intervals as text: `estimate_text`.
"""
