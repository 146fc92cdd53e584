"""The toy model of feature-space expansion (after a summary of v2 of the paper), apart from every study.

`model` simulates it with the values of `setting`, `fit` fits what comes out; `figures.figure_toy` draws both.
"""
