"""What is simulated for the figure of the toy model. All values are our choice: the summary of the paper's v2 gives none."""

from __future__ import annotations

from twostage.toy.model import ToyModel

MODEL = ToyModel(
    # Small, so that a million samples go about ten levels deep; both alike, so that neither stage is special.
    base_branching=4,
    domain_branching=4,
    # delta = ln 1.1 / ln 4 = 0.07: a million samples of the first stage make 2.6 children of one.
    split_probability=0.1,
    # The exponents of a tree without splitting are ln(1/ratio) / ln(branching): 0.08 in D1, 0.26 in D2.
    base_ratio=0.9,
    domain_ratio=0.7,
    # Seeds then differ by 0.4 % of the loss, less than the forms do.
    topics=100,
)
# Powers of 4 times the first, so that every D1 meets the base tree's levels in the same phase.
D1_SAMPLES = [1000 * 4**step for step in range(6)]
# From 160 samples a topic on (before, no power law has set in) over a factor of 64.
D2_SAMPLES = [16_000 * 2**step for step in range(7)]
SEEDS = [0, 1, 2, 3]
