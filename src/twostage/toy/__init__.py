"""The toy model of feature-space expansion (after a summary of v2 of the paper), independent of any study.

`model` simulates it, `fit` fits the simulated losses, and `figures.figure_toy` draws both.
"""
