"""Files of users with a table and no cluster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_tables import NOISE, SCRATCH, grid

from twostage.cli import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "losses.csv"
    grid().to_csv(path, index=False)
    return path


@pytest.fixture
def scratch_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    tokens = np.geomspace(1e8, 1e11, 9)
    noise = np.exp(NOISE * np.random.default_rng(8).standard_normal(9))
    table = tmp_path / "scratch.csv"
    pd.DataFrame({"d2_tokens": tokens, "loss_nats": SCRATCH.loss(tokens) * noise}).to_csv(table, index=False)
    out = tmp_path / "SCRATCH.json"
    assert main(["fit", str(table), "--form", "power", "--out", str(out)]) == 0
    capsys.readouterr()
    return out


@pytest.fixture
def mul_fit(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The multiplicative law fitted to `data`, by the command itself."""
    out = tmp_path / "FIT.json"
    assert main(["fit", str(data), "--form", "mul", "--out", str(out)]) == 0
    capsys.readouterr()
    return out
