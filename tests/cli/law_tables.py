"""Tables of losses with known laws, and the command as a test runs it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twostage.cli import main
from twostage.laws.crossover import Law

NOISE = 1e-3
AXIS = np.geomspace(5.77e8, 9.23e9, 5)
TRUTH = Law("mul", {"A": 33.4, "alpha1": 0.087, "alpha2": 0.119, "alpha3": 0.003, "E": 0.973})
SCRATCH = Law("power", {"A": 14.0, "alpha": 0.1, "E": 1.1})


def grid() -> pd.DataFrame:
    d1, d2 = (x.ravel() for x in np.meshgrid(AXIS, AXIS, indexing="ij"))
    noise = np.exp(NOISE * np.random.default_rng(7).standard_normal(25))
    return pd.DataFrame({"d1_tokens": d1, "d2_tokens": d2, "loss_nats": TRUTH.loss(d2, d1=d1) * noise})


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run, expect exit code 2 and exactly one line on stderr; return it."""
    assert main([*argv]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err
