"""Two-stage pretraining: measure, fit and draw how much a pretrained base model is worth.

The library behind the Snakemake workflow; it never imports snakemake. See README.md for a tour.
"""

__version__ = "0.2.0"
