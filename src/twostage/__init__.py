"""Two-stage pretraining: measure and fit the loss of pretrained models that are trained again.

The library behind the Snakemake workflow; it never imports snakemake. Start with README.md.
"""

__version__ = "0.2.0"
