"""`twostage compare`, `predict` and `advise` on tables with known laws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_tables import AXIS, NOISE, SCRATCH, TRUTH, failure, grid, run_json

from twostage.cli import main
from twostage.laws.crossover import scratch_tokens
from twostage.laws.declarations import DECLARED
from twostage.paper.published import published_joint_laws


def test_compare_ranks_the_true_form_first(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "compare", str(data), "--forms", "mul", "mul0", "add", "hyb")
    forms = [row["form"] for row in result["forms"]]
    assert forms[0] == "mul"
    assert set(forms) == {"mul", "mul0", "add", "hyb"}
    errors = [row["loo_rms_nats"] for row in result["forms"]]
    assert errors == sorted(errors)
    assert result["noise_floor_nats"] is None
    everything = run_json(capsys, "compare", str(data))
    grid_forms = {name for name, law in DECLARED.items() if "n" not in law.variables}
    assert {row["form"] for row in everything["forms"]} == grid_forms


def test_compare_reports_noise_and_what_was_not_fitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "seeds.csv"
    second = grid().assign(seed=1)
    second["loss_nats"] *= 1.002
    pd.concat([grid().assign(seed=0), second]).assign(n_base=1e8).to_csv(table, index=False)
    result = run_json(capsys, "compare", str(table))
    expected = np.sqrt(np.mean((0.002 * grid()["loss_nats"]) ** 2 / 2))
    assert result["noise_floor_nats"] == pytest.approx(expected, rel=1e-9)
    assert set(result["not_fitted"]) == {name for name, law in DECLARED.items() if "n" in law.variables}
    assert main(["compare", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "Not fitted" in shown
    assert "no form can predict below it" in shown


def test_predict_is_the_law_with_an_interval(
    mul_fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = run_json(capsys, "predict", str(mul_fit), "--d1", "2B", "--d2", "3e9")
    truth = float(TRUTH.loss(3e9, d1=2e9))
    assert inside["lower"] < truth < inside["upper"]
    assert inside["upper"] - inside["lower"] < 4 * NOISE * truth
    assert inside["notes"] == []
    far = run_json(capsys, "predict", str(mul_fit), "--d1", "1T", "--d2", "1T", "--n", "7B")
    assert far["upper"] - far["lower"] > inside["upper"] - inside["lower"]
    assert [note for note in far["notes"] if "extrapolation" in note]
    assert any("--n" in note for note in far["notes"])
    record = json.loads(mul_fit.read_text())
    # A law over sizes of a study, such as fits/joint/stack.json: the interval then rests on the covariance.
    del record["points"]
    record["extrapolation"] = None
    mul_fit.write_text(json.dumps(record))
    bare = run_json(capsys, "predict", str(mul_fit), "--d1", "2B", "--d2", "3e9")
    assert bare["method"] == "covariance"
    assert bare["loss_nats"] == inside["loss_nats"]
    assert bare["upper"] - bare["lower"] == pytest.approx(inside["upper"] - inside["lower"], rel=0.4)
    assert main(["predict", str(mul_fit), "--d1", "2B", "--d2", "3B"]) == 0
    assert "D1 = 2B, D2 = 3B: " in capsys.readouterr().out


def test_advise_agrees_with_the_laws(
    mul_fit: Path, scratch_fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        "advise",
        str(mul_fit),
        "--scratch",
        str(scratch_fit),
        "--d1",
        "5B",
        "--d2",
        "2B",
        "--draws",
        "200",
    ]
    advice = run_json(capsys, *argv)
    truth = float(scratch_tokens(SCRATCH, float(TRUTH.loss(2e9, d1=5e9)), None))
    tokens = advice["scratch_tokens"]
    assert tokens["lower"] < truth < tokens["upper"]
    assert advice["saved_tokens"]["value"] == pytest.approx(tokens["value"] - 2e9)
    assert advice["share_of_sunk_cost"]["value"] == pytest.approx((tokens["value"] - 2e9) / 5e9)
    better = float(TRUTH.loss(2e9, d1=5e9)) < float(SCRATCH.loss(2e9))
    assert advice["verdict"] == ("reuse" if better else "from scratch")
    assert advice["reuse_better"] == (1.0 if better else 0.0)
    assert main(argv) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "Clearly reuse the base (100 % of the draws)." in words
    assert "5B tokens, trained on 2B more" in words


def test_advise_says_from_scratch_and_undecided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table 8's laws, with noise of 1e-3: growth of 100B at 15T is undecided, at 1000T it has lost."""
    laws = published_joint_laws()
    sizes = np.array([1.5e7, 1e8, 1e9])
    n, d1, d2 = (x.ravel() for x in np.meshgrid(sizes, AXIS, AXIS, indexing="ij"))
    generator = np.random.default_rng(3)
    grown, scratch = tmp_path / "grown.csv", tmp_path / "base.csv"
    loss = laws["Stack"].law.loss(d2, d1=d1, n=n) * np.exp(NOISE * generator.standard_normal(n.size))
    pd.DataFrame({"n_base": n, "d1_tokens": d1, "d2_tokens": d2, "loss_nats": loss}).to_csv(
        grown, index=False
    )
    n, d2 = (x.ravel() for x in np.meshgrid(sizes, AXIS, indexing="ij"))
    loss = laws["Base (Slimpajama)"].law.loss(d2, n=n) * np.exp(NOISE * generator.standard_normal(n.size))
    pd.DataFrame({"n_base": n, "d2_tokens": d2, "loss_nats": loss}).to_csv(scratch, index=False)
    files = [tmp_path / "GROWN.json", tmp_path / "BASE.json"]
    assert main(["fit", str(grown), "--form", "joint", "--out", str(files[0])]) == 0
    assert main(["fit", str(scratch), "--form", "chinchilla", "--out", str(files[1])]) == 0
    capsys.readouterr()
    argv = [
        "advise",
        str(files[0]),
        "--scratch",
        str(files[1]),
        "--n",
        "100B",
        "--growth-factor",
        "2",
        "--draws",
        "200",
    ]
    lost = run_json(capsys, *argv, "--d1", "10000T", "--d2", "10000T")
    assert lost["verdict"] == "from scratch"
    assert any("train from scratch" in line for line in lost["sentences"])
    open_question = run_json(capsys, *argv, "--d1", "12T", "--d2", "12T")
    assert 0.02 < open_question["reuse_better"] < 0.98
    assert open_question["catch_up_tokens"]["exists_share"] > 0.5
    assert "has a size term" in failure(capsys, *argv[:4], "--d1", "1T", "--d2", "1T")


def test_advise_without_scratch_asks_for_it(
    mul_fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = run_json(capsys, "advise", str(mul_fit), "--d1", "5B", "--d2", "2B", "--draws", "50")
    assert advice["verdict"] is None
    assert any("--scratch" in line for line in advice["sentences"])
    assert advice["alpha_eff"]["value"] == pytest.approx(0.119 - 0.003 * np.log(5e9), abs=0.02)
    assert advice["gain_of_doubling_nats"]["value"] > 0
