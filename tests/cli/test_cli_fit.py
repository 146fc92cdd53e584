"""`twostage fit` on tables with known laws: every format, selection and objective."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_tables import failure, grid, run_json

from twostage.cli import main
from twostage.laws.fit import Fit, fit_law
from twostage.laws.forms import FORMS
from twostage.laws.points import Points


def test_fit_writes_what_the_library_finds(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "FIT.json"
    assert main(["fit", str(data), "--form", "mul", "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    points = Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens")
    fit = fit_law(points, "mul")
    assert record["form"] == "mul"
    assert record["coefficients"] == fit.coefficients  # 17 digits: equal, not close
    assert record["objective"] == fit.objective
    huber = np.minimum(np.abs(fit.residuals(points)), 1e-3)
    assert record["objective"] == pytest.approx(
        np.sum(huber * (np.abs(fit.residuals(points)) - huber / 2)), rel=1e-9
    )  # the sum
    assert record["n_points"] == 25
    assert record["standard_errors_source"] == "covariance"
    assert set(record["intervals"]) == set(record["standard_errors"]) == set(fit.coefficients)
    assert record["intervals"]["alpha3"]["lower"] < 0.003 < record["intervals"]["alpha3"]["upper"]
    assert record["certificate"]["second_order"] is True
    assert record["units"]["d1"] == "tokens"
    assert record["log_base"] == "e"
    assert Fit.from_json(out.read_text()).coefficients == fit.coefficients


def test_chinchilla_has_the_usual_letters(tmp_path: Path) -> None:
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
    table = tmp_path / "chinchilla.csv"
    loss = 482.0 / n**0.348 + 2085.0 / d**0.366 + 1.82
    pd.DataFrame({"params": n, "tokens": d, "L": loss}).to_csv(table, index=False)
    out = tmp_path / "FIT.json"
    assert (
        main(
            [
                "fit",
                str(table),
                "--form",
                "chinchilla",
                "--columns",
                "n=params",
                "d2=tokens",
                "loss=L",
                "--out",
                str(out),
            ]
        )
        == 0
    )
    found = json.loads(out.read_text())["coefficients"]
    expected = {"A": 482.0, "B": 2085.0, "E": 1.82, "alpha": 0.348, "beta": 0.366}
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_fit(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"losses.{ending}"
    frame = grid()
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        frame.to_parquet(path)
    found = run_json(capsys, "fit", str(path), "--form", "mul0")
    expected = fit_law(Points.from_frame(frame, d1="d1_tokens", d2="d2_tokens"), "mul0").coefficients
    assert found["coefficients"] == pytest.approx(expected, rel=1e-6)


def test_human_units_in_a_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = grid()
    frame["d1_tokens"], frame["d2_tokens"] = frame["d1_tokens"].round(-7), frame["d2_tokens"].round(-7)
    plain, human = tmp_path / "plain.csv", tmp_path / "human.csv"
    frame.to_csv(plain, index=False)
    frame.assign(d1_tokens=[f"{x / 1e9:.2f}B" for x in frame["d1_tokens"]]).to_csv(human, index=False)
    first, second = (
        run_json(capsys, "fit", str(path), "--form", "mul0")["coefficients"] for path in (plain, human)
    )
    assert first == pytest.approx(second, rel=1e-9)


def test_drop_highest_leaves_out_the_largest_losses(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "fit", str(data), "--form", "mul0", "--drop-highest", "3")
    kept = grid().sort_values("loss_nats").head(22)
    expected = fit_law(Points.from_frame(kept, d1="d1_tokens", d2="d2_tokens"), "mul0")
    assert found["n_points"] == 22
    assert found["objective"] == pytest.approx(expected.objective, rel=1e-9)
    assert found["data"]["dropped_highest"] == 3


def test_bootstrap_gives_seeded_standard_errors(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["fit", str(data), "--form", "mul0", "--bootstrap", "200"]
    first, again, other = (
        run_json(capsys, *argv, "--seed", seed)["standard_errors"] for seed in ("1", "1", "2")
    )
    assert first == again
    assert first != other
    from_covariance = run_json(capsys, "fit", str(data), "--form", "mul0")
    for name, value in from_covariance["standard_errors"].items():
        assert 0.3 * value < first[name] < 3 * value
    record = run_json(capsys, *argv, "--bootstrap-unit", "trunks")
    assert record["standard_errors_source"] == "bootstrap over trunks (200 refits, seed 0)"
    twice = pd.concat([grid().assign(seed=0), grid().assign(seed=1, loss_nats=grid()["loss_nats"] * 1.001)])
    twice.to_csv(data, index=False)
    record = run_json(capsys, *argv, "--bootstrap-unit", "seeds")
    assert record["standard_errors_source"] == "bootstrap over seeds (200 refits, seed 0)"
    assert record["standard_errors"]["E"] > 0


def test_lad_is_another_objective(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "fit", str(data), "--form", "mul0", "--objective", "lad")
    expected = fit_law(Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens"), "mul0", objective="lad")
    assert found["objective_name"] == "lad"
    assert found["objective"] == pytest.approx(
        np.abs(expected.residuals(Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens"))).sum(), rel=1e-9
    )


def test_where_picks_one_method_of_a_cells_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "cells.csv"
    pd.concat([grid().assign(method="stack"), grid().assign(method="expand", loss_nats=2.5)]).to_csv(
        table, index=False
    )
    assert "same cell" in failure(capsys, "fit", str(table), "--form", "mul")
    found = run_json(capsys, "fit", str(table), "--form", "mul", "--where", "method=stack")
    assert (
        found["coefficients"]
        == fit_law(Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens"), "mul").coefficients
    )
    assert "no row is left" in failure(capsys, "fit", str(table), "--form", "mul", "--where", "method=cpt")


def test_one_size_joint_fit_is_refused_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "one-size.csv"
    grid().assign(n_base=98_323_840).to_csv(table, index=False)
    assert (
        "three sizes" in (message := failure(capsys, "fit", str(table), "--form", "joint"))
        or "3 sizes" in message
    )
    joint = run_json(capsys, "fit", str(table), "--form", "joint", "--allow-degenerate")
    mul = run_json(capsys, "fit", str(table), "--form", "mul")
    assert joint["objective"] == pytest.approx(mul["objective"], rel=1e-6)
    assert any("not identified" in warning for warning in joint["warnings"])


def test_help_lists_every_law_with_its_equation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "{" + ",".join(FORMS) + "}" in "".join(shown.split())
    for form in FORMS.values():
        assert form.equation in shown
