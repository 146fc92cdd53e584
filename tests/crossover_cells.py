"""Synthetic cells of a method and of models from scratch, with losses from given functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq

D1 = (200_000, 800_000, 3_200_000)
D2 = (200_000, 400_000, 800_000, 1_600_000, 3_200_000)
#: Size before and after growth.
N, GROWN = 32_928, 65_824
METHODS = {"cpt-code": ("code", N), "stack": ("generic", GROWN)}


def mul(d1: float, d2: float) -> float:
    """Loss of reuse: a law that crosses `power` at a D2 which grows with D1."""
    return 850 * d1**-0.24 * d2 ** (-0.39 + 0.0135 * np.log(d1)) + 2.2


def power(d: float) -> float:
    """Loss of models from scratch."""
    return 105 * d**-0.29 + 2.1


def true_crossing(d1: float) -> float:
    """D2 in tokens at which `mul` and `power` are equal."""
    return float(np.exp(brentq(lambda x: power(np.exp(x)) - mul(d1, np.exp(x)), np.log(1e5), np.log(1e7))))


def reuse_rows(
    loss: Callable[[float, float], float],
    *,
    method: str = "stack",
    d1: Iterable[int] = D1,
    d2: Iterable[int] = D2,
    seeds: Iterable[int] = (0,),
    noise: float = 0.0,
) -> list[dict]:
    """Rows of a method at base model 33k; `noise`: standard deviation in nats, drawn anew for each seed."""
    corpus, n_final = METHODS[method]
    return [
        row(method, "33k", corpus, n_final, seed, a, b, loss(a, b) + noise * draw(seed, a, b))
        for a in d1
        for b in d2
        for seed in seeds
    ]


def scratch_rows(
    loss: Callable[[float], float],
    *,
    corpus: str = "generic",
    sizes: Mapping[str, int] | None = None,
    d2: Iterable[int] = D2,
    seeds: Iterable[int] = (0,),
    noise: float = 0.0,
) -> list[dict]:
    """Rows of models from scratch; sizes: name -> N."""
    return [
        row("scratch", name, corpus, n, seed, 0, b, loss(b) + noise * draw(seed, n, b))
        for name, n in ({"33k-2N": GROWN} if sizes is None else sizes).items()
        for b in d2
        for seed in seeds
    ]


def row(method, model, corpus, n_final, seed, d1, d2, loss) -> dict:
    return {
        "method": method,
        "model": model,
        "n_base": n_final if d1 == 0 else N,
        "n_final": n_final,
        "d1_tokens": d1,
        "d2_tokens": d2,
        "seed": seed,
        "valid_corpus": corpus,
        "loss_nats": float(loss),
        "excluded": "",
    }


def draw(*key: int) -> float:
    """Return a standard normal number that depends on the key."""
    return float(np.random.default_rng(key).standard_normal())


def table(*parts: list[dict]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])
