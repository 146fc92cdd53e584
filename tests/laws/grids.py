"""Simulated measurements with known coefficients, shared by the tests of the laws and by `make_reference_optima.py`."""

from __future__ import annotations

import numpy as np

from twostage.laws.forms import FORMS
from twostage.laws.points import Points

# The paper's 5 x 5 grid (Table 5, Appendix B): 0.577e9 tokens doubled four times.
TOKENS = 0.577e9 * 2.0 ** np.arange(5)
SIZES = np.array([1.5e7, 4.4e7, 1e8, 2e8, 5e8, 1e9])

# name -> (form, coefficients); `stack` and `cpt` are Table 8 (alpha3 of `stack` with the digits that give D* = 13T).
TRUTHS = {
    "stack": ("mul", {"A": 33.394, "alpha1": 0.087, "alpha2": 0.119, "alpha3": 0.0029968, "E": 0.973}),
    "cpt": ("mul", {"A": 15.062, "alpha1": 0.048, "alpha2": 0.126, "alpha3": 0.001, "E": 0.446}),
    "falling": ("mul", {"A": 2.5, "alpha1": -0.04, "alpha2": -0.02, "alpha3": -0.003, "E": 0.9}),
    "mul0": ("mul0", {"A": 35.0, "alpha1": 0.05, "alpha2": 0.13, "E": 1.5}),
    "add": ("add", {"A": 30.0, "alpha1": 0.15, "F": 40.0, "alpha2": 0.2, "E": 1.2}),
    "hyb": ("hyb", {"A": 60.0, "alpha1": 0.12, "F": 4.0, "alpha2": 0.1, "E": 1.2}),
    "tree": ("tree", {"A": 2.5, "alpha1": 0.03, "alpha2": 0.4, "kappa": 0.2, "E": 1.2}),
    "power": ("power", {"A": 40.0, "alpha": 0.2, "E": 1.5}),
    "merged": ("merged", {"A": 40.0, "alpha": 0.2, "E": 1.5}),
    "joint": (
        "joint",
        {
            "A": 15.062,
            "alpha1": 0.048,
            "alpha2": 0.126,
            "alpha3": 0.001,
            "B": 27.234,
            "beta": 0.238,
            "E": 0.4,
        },
    ),
    # the second is what the paper's grid of 0.1B gave for 8 x top-2 upcycling, rounded
    "transfer": ("transfer", {"A": 4500.0, "alpha": 0.45, "k": 3e4, "b": 0.5, "E": 2.2}),
    "blend": ("blend", {"A": 2000.0, "alpha": 0.4, "B": 30.0, "b": 0.2, "s": 0.3, "E": 2.0}),
    "joint0": ("joint0", {"A": 15.0, "alpha1": 0.05, "alpha2": 0.12, "B": 27.0, "beta": 0.24, "E": 0.4}),
    "joint-add": (
        "joint-add",
        {"A": 60.0, "alpha": 0.3, "B": 40.0, "beta": 0.2, "G": 300.0, "gamma": 0.3, "E": 1.2},
    ),
    "joint-transfer": (
        "joint-transfer",
        {"A": 4500.0, "alpha": 0.45, "k": 3e4, "b": 0.5, "C": 60.0, "beta": 0.25, "E": 1.2},
    ),
    "joint-blend": (
        "joint-blend",
        {"A": 2000.0, "alpha": 0.4, "B": 30.0, "b": 0.2, "s": 0.3, "C": 60.0, "beta": 0.25, "E": 1.2},
    ),
    "chinchilla": ("chinchilla", {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}),
}
#: Every law as a plain expression, independent of `Form.predict`. Coefficients may be complex, for complex-step derivatives.
EQUATIONS = {
    "power": lambda c, d1, d2, n: c["A"] * d2 ** -c["alpha"] + c["E"],
    "mul": lambda c, d1, d2, n: (
        c["A"] * d1 ** -c["alpha1"] * d2 ** (-c["alpha2"] + c["alpha3"] * np.log(d1)) + c["E"]
    ),
    "mul0": lambda c, d1, d2, n: c["A"] * d1 ** -c["alpha1"] * d2 ** -c["alpha2"] + c["E"],
    "add": lambda c, d1, d2, n: c["A"] * d1 ** -c["alpha1"] + c["F"] * d2 ** -c["alpha2"] + c["E"],
    "hyb": lambda c, d1, d2, n: (c["A"] * d1 ** -c["alpha1"] + c["F"]) * d2 ** -c["alpha2"] + c["E"],
    "merged": lambda c, d1, d2, n: c["A"] * (d1 + d2) ** -c["alpha"] + c["E"],
    "joint": lambda c, d1, d2, n: (
        c["A"] * d1 ** -c["alpha1"] * d2 ** (-c["alpha2"] + c["alpha3"] * np.log(d1))
        + c["B"] * n ** -c["beta"]
        + c["E"]
    ),
    "chinchilla": lambda c, d1, d2, n: c["A"] / n ** c["alpha"] + c["B"] / d2 ** c["beta"] + c["E"],
    "tree": lambda c, d1, d2, n: (
        c["A"] * d1 ** -c["alpha1"] * (d2 / 1e9) ** (-c["alpha2"] / (1 + c["kappa"] * np.log(d1))) + c["E"]
    ),
}


def _transfer(c, d1, d2):
    return c["A"] * (d2 + c["k"] * d1 ** c["b"]) ** -c["alpha"]


def _blend(c, d1, d2):
    second, base = c["A"] * d2 ** -c["alpha"], c["B"] * d1 ** -c["b"]
    return (second ** (-1 / c["s"]) + base ** (-1 / c["s"])) ** -c["s"]


EQUATIONS |= {
    "transfer": lambda c, d1, d2, n: _transfer(c, d1, d2) + c["E"],
    "blend": lambda c, d1, d2, n: _blend(c, d1, d2) + c["E"],
    "joint0": lambda c, d1, d2, n: (
        c["A"] * d1 ** -c["alpha1"] * d2 ** -c["alpha2"] + c["B"] * n ** -c["beta"] + c["E"]
    ),
    "joint-add": lambda c, d1, d2, n: (
        c["A"] / n ** c["alpha"] + c["B"] / d1 ** c["beta"] + c["G"] / d2 ** c["gamma"] + c["E"]
    ),
    "joint-transfer": lambda c, d1, d2, n: _transfer(c, d1, d2) + c["C"] * n ** -c["beta"] + c["E"],
    "joint-blend": lambda c, d1, d2, n: _blend(c, d1, d2) + c["C"] * n ** -c["beta"] + c["E"],
}


def simulated(truth: str, noise: float = 0.0, seed: int = 0, repeats: int = 1) -> Points:
    """Losses of one truth with Gaussian noise of the log loss; `joint` and `chinchilla` on six sizes, others on 5 x 5."""
    form, coefficients = TRUTHS[truth]
    variables = FORMS[form].variables
    axes = {"n": SIZES, "d1": TOKENS, "d2": TOKENS}
    used = [name for name in ("n", "d1", "d2") if name in variables or (name != "n" and "n" not in variables)]
    mesh = dict(zip(used, np.meshgrid(*(axes[name] for name in used), indexing="ij"), strict=True))
    columns = {name: np.tile(values.ravel(), repeats) for name, values in mesh.items()}
    loss = FORMS[form].predict(coefficients, **{name: columns[name] for name in variables})
    rng = np.random.default_rng(seed)
    seeds = np.repeat(np.arange(repeats), loss.size // repeats) if repeats > 1 else None
    return Points(loss=loss * np.exp(noise * rng.standard_normal(loss.size)), seed=seeds, **columns)
