"""The commands for people with a table and no cluster: real runs of the real program, on tables with known laws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from twostage.cli import main
from twostage.cli.fit import FORM_NAMES
from twostage.laws.crossover import Law, scratch_tokens
from twostage.laws.fit import Fit, fit_law
from twostage.laws.forms import FORMS
from twostage.laws.points import Points
from twostage.laws.published import published_joint_laws

NOISE = 1e-3
AXIS = np.geomspace(5.77e8, 9.23e9, 5)
TRUTH = Law("mul", {"A": 33.4, "alpha1": 0.087, "alpha2": 0.119, "alpha3": 0.003, "E": 0.973})
SCRATCH = Law("power", {"A": 14.0, "alpha": 0.1, "E": 1.1})


def grid() -> pd.DataFrame:
    d1, d2 = (x.ravel() for x in np.meshgrid(AXIS, AXIS, indexing="ij"))
    noise = np.exp(NOISE * np.random.default_rng(7).standard_normal(25))
    return pd.DataFrame({"d1_tokens": d1, "d2_tokens": d2, "loss_nats": TRUTH.loss(d2, d1=d1) * noise})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "losses.csv"
    grid().to_csv(path, index=False)
    return path


@pytest.fixture
def scratch_fit(tmp_path: Path) -> Path:
    tokens = np.geomspace(1e8, 1e11, 9)
    noise = np.exp(NOISE * np.random.default_rng(8).standard_normal(9))
    table = tmp_path / "scratch.csv"
    pd.DataFrame({"d2_tokens": tokens, "loss_nats": SCRATCH.loss(tokens) * noise}).to_csv(table, index=False)
    out = tmp_path / "SCRATCH.json"
    assert main(["fit", str(table), "--form", "power", "--out", str(out)]) == 0
    return out


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


def test_compare_ranks_the_true_form_first(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run_json(capsys, "compare", str(data), "--forms", "mul", "mul0", "add", "hyb")
    forms = [row["form"] for row in result["forms"]]
    assert forms[0] == "mul"
    assert set(forms) == {"mul", "mul0", "add", "hyb"}
    errors = [row["loo_rms_nats"] for row in result["forms"]]
    assert errors == sorted(errors)
    assert result["noise_floor_nats"] is None
    everything = run_json(capsys, "compare", str(data))
    assert {row["form"] for row in everything["forms"]} == {
        "power",
        "mul",
        "mul0",
        "add",
        "hyb",
        "merged",
        "tree",
    }


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
    assert set(result["not_fitted"]) == {"joint", "chinchilla"}
    assert main(["compare", str(table)]) == 0
    shown = capsys.readouterr().out
    assert "Not fitted" in shown
    assert "no form can predict below it" in shown


def test_predict_is_the_law_with_an_interval(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "FIT.json"
    assert main(["fit", str(data), "--form", "mul", "--out", str(out)]) == 0
    capsys.readouterr()
    inside = run_json(capsys, "predict", str(out), "--d1", "2B", "--d2", "3e9")
    truth = float(TRUTH.loss(3e9, d1=2e9))
    assert inside["lower"] < truth < inside["upper"]
    assert inside["upper"] - inside["lower"] < 4 * NOISE * truth
    assert inside["notes"] == []
    far = run_json(capsys, "predict", str(out), "--d1", "1T", "--d2", "1T", "--n", "7B")
    assert far["upper"] - far["lower"] > inside["upper"] - inside["lower"]
    assert [note for note in far["notes"] if "extrapolation" in note]
    assert any("--n" in note for note in far["notes"])
    record = json.loads(out.read_text())
    del record["points"]  # a study's own fit file: the interval then rests on the covariance
    out.write_text(json.dumps(record))
    bare = run_json(capsys, "predict", str(out), "--d1", "2B", "--d2", "3e9")
    assert bare["method"] == "covariance"
    assert bare["loss_nats"] == inside["loss_nats"]
    assert bare["upper"] - bare["lower"] == pytest.approx(inside["upper"] - inside["lower"], rel=0.4)
    assert main(["predict", str(out), "--d1", "2B", "--d2", "3B"]) == 0
    assert "D1 = 2B, D2 = 3B: " in capsys.readouterr().out


def test_advise_agrees_with_the_laws(
    data: Path, scratch_fit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "FIT.json"
    assert main(["fit", str(data), "--form", "mul", "--out", str(out)]) == 0
    capsys.readouterr()
    argv = ["advise", str(out), "--scratch", str(scratch_fit), "--d1", "5B", "--d2", "2B", "--draws", "200"]
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
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "FIT.json"
    assert main(["fit", str(data), "--form", "mul", "--out", str(out)]) == 0
    capsys.readouterr()
    advice = run_json(capsys, "advise", str(out), "--d1", "5B", "--d2", "2B", "--draws", "50")
    assert advice["verdict"] is None
    assert any("--scratch" in line for line in advice["sentences"])
    assert advice["alpha_eff"]["value"] == pytest.approx(0.119 - 0.003 * np.log(5e9), abs=0.02)
    assert advice["gain_of_doubling_nats"]["value"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_nats": -1.0}, "row 5, column 'loss_nats'"),
        ({"loss_nats": float("nan")}, "row 5, column 'loss_nats'"),
        ({"d1_tokens": 0.0}, "row 5, column 'd1_tokens'"),
        ({"d2_tokens": "many"}, "row 5, column 'd2_tokens'"),
    ],
)
def test_bad_values_name_row_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], message: str
) -> None:
    frame = grid().astype(object)
    for column, value in change.items():
        frame.loc[4, column] = value
    table = tmp_path / "bad.csv"
    frame.to_csv(table, index=False)
    assert message in failure(capsys, "fit", str(table), "--form", "mul")


def test_other_mistakes_are_one_clear_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["fit", str(data), "--form", "mul"]
    assert "no such file" in failure(capsys, "fit", "missing.csv", "--form", "mul")
    assert "'tokens'" in failure(capsys, *fit, "--columns", "d1=tokens")
    assert "'x' is not one of d1, d2, n, loss, seed" in failure(capsys, *fit, "--columns", "x=tokens")
    assert "--columns n=COLUMN" in failure(capsys, "fit", str(data), "--form", "joint")
    assert "not of the form" in failure(capsys, *fit, "--columns", "d1")
    assert "--drop-highest" in failure(capsys, *fit, "--drop-highest", "25")
    assert "--level" in failure(capsys, *fit, "--level", "95")
    assert "--bootstrap" in failure(capsys, *fit, "--bootstrap", "1")
    over_seeds = ["--bootstrap", "9", "--bootstrap-unit", "seeds"]
    assert "one seed or none" in failure(capsys, *fit, *over_seeds)
    (tmp_path / "losses.xlsx").write_bytes(b"x")
    assert "use .csv, .jsonl or .parquet" in failure(
        capsys, "fit", str(tmp_path / "losses.xlsx"), "--form", "mul"
    )
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    assert "cannot be read as parquet" in failure(
        capsys, "fit", str(tmp_path / "broken.parquet"), "--form", "mul"
    )
    (tmp_path / "FIT.json").write_text('{"form": "mul"}')
    assert "'coefficients' is missing" in failure(
        capsys, "predict", str(tmp_path / "FIT.json"), "--d1", "1B", "--d2", "1B"
    )
    (tmp_path / "FIT.json").write_text("[1, 2")
    assert "not JSON" in failure(capsys, "predict", str(tmp_path / "FIT.json"), "--d1", "1B", "--d2", "1B")
    assert main([*fit, "--out", str(tmp_path / "GOOD.json")]) == 0
    capsys.readouterr()
    assert "needs --d2" in failure(capsys, "predict", str(tmp_path / "GOOD.json"), "--d1", "1B")
    assert "--d1: 'lots'" in failure(
        capsys, "predict", str(tmp_path / "GOOD.json"), "--d1", "lots", "--d2", "1B"
    )
    assert "not a law of training from scratch" in failure(
        capsys,
        "advise",
        str(tmp_path / "GOOD.json"),
        "--scratch",
        str(tmp_path / "GOOD.json"),
        "--d1",
        "1B",
        "--d2",
        "1B",
    )


def test_usage_errors_return_2_and_help_returns_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main(["fit", "x.csv"]) == 2
    assert main(["fit", "x.csv", "--form", "nonsense"]) == 2
    assert main(["--help"]) == 0
    for command in ("fit", "compare", "predict", "advise"):
        assert command in capsys.readouterr().out or main([command, "--help"]) == 0


def test_form_names_are_the_forms() -> None:
    assert tuple(FORMS) == FORM_NAMES


WITHOUT_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "megatron", "snakemake", "matplotlib", "numba"):
            raise ImportError(f"{name} must not be imported here")
sys.meta_path.insert(0, Refuse())
from twostage.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_fresh_process_without_torch_answers(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "FIT.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for argv in (
        ["fit", str(data), "--form", "mul", "--bootstrap", "50", "--out", str(out)],
        ["compare", str(data)],
        ["predict", str(out), "--d1", "2B", "--d2", "2B"],
        ["advise", str(out), "--d1", "2B", "--d2", "2B", "--draws", "50"],
    ):
        command = [sys.executable, "-c", WITHOUT_TORCH, *argv]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout


def test_the_installed_command_is_this_one(data: Path) -> None:
    program = Path(sys.executable).with_name("twostage")
    assert program.exists(), "install the project into this environment: pip install --no-deps --editable ."
    done = subprocess.run(
        [program, "fit", "missing.csv", "--form", "mul"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "twostage: error: missing.csv: no such file\n"
