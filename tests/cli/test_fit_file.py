"""FIT.json: what it says is what is used, or it is refused by name with the command that makes it again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from law_tables import failure, grid, run_json

from twostage.cli import main
from twostage.laws.fit import Fit, fit_law
from twostage.laws.fit_file import fit_record, read_fit
from twostage.laws.forms import FORMS
from twostage.laws.points import Points

AT = ["--d1", "2B", "--d2", "2B"]
Record = dict[str, Any]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The file of the multiplicative law, as the command writes it."""
    folder = tmp_path_factory.mktemp("fit")
    grid().to_csv(folder / "losses.csv", index=False)
    assert main(["fit", str(folder / "losses.csv"), "--form", "mul", "--out", str(folder / "FIT.json")]) == 0
    record: Record = json.loads((folder / "FIT.json").read_text())
    return record


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, record: object) -> str:
    path = tmp_path / "FIT.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    message = failure(capsys, "predict", str(path), *AT)
    assert f"{path}: not a fit file of `twostage fit`: " in message
    return message


def change(record: Record, **values: Any) -> Record:
    """A copy with other values; keys of inner objects after two underscores."""
    copy: Record = json.loads(json.dumps(record))
    for name, value in values.items():
        *outer, last = name.split("__")
        place = copy
        for key in outer:
            place = place[key]
        if value is None and last not in ("A", "delta"):
            del place[last]
        else:
            place[last] = value
    return copy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coefficients__alpha3": 0.5}, "coefficients.alpha3: 0.5 is outside its interval"),
        ({"coefficients__A": -5.0}, "coefficients.A: -5.0 is not between 0 and inf"),
        ({"coefficients__A": float("nan")}, "coefficients.A: input should be a finite number"),
        ({"coefficients__A": float("inf")}, "coefficients.A: input should be a finite number"),
        ({"coefficients__A": None}, "coefficients.A: null is not a number"),
        ({"coefficients__A": "thirty"}, "coefficients.A: input should be a valid number"),
        ({"coefficients__E": None}, "the names in coefficients"),
        ({"coefficients": [1, 2]}, "coefficients: input should be a valid dictionary"),
        ({"log_base": 10}, "log_base: input should be 'e'"),
        ({"units__d1": "billions of tokens"}, "units: "),
        ({"equation": "L = 7"}, "equation: 'L = 7' in the file"),
        ({"form": "mull"}, "form: 'mull' is not one of power, mul"),
        ({"form": "mul0"}, "in this version of the law"),
        ({"objective": 1.0}, "the objective was changed"),
        ({"objective": -1.0}, "objective: input should be greater than or equal to 0"),
        ({"objective_name": "lad"}, "delta: must be a number for the objective huber"),
        ({"delta": 0.5}, "coefficients: not the fit to the stored points"),
        ({"centre__d1": 3.0}, "centre.d1: 3.0 in the file"),
        ({"centre__d3": 3.0}, "centre: has the names"),
        ({"n_points": 24}, "n_points: 24, but points has 25"),
        ({"points__loss": [2.5]}, "d1 has 25 values, but loss has 1"),
        ({"points": None}, "points: missing"),
        ({"points__loss": 3}, "points.loss: input should be a valid list"),
        ({"points__loss": []}, "points.loss: list should have at least 1 item"),
        ({"points__tokens": [1.0]}, "points.tokens: extra inputs are not permitted"),
        ({"covariance__matrix": [[1.0]]}, "covariance.matrix: must have 5 rows of 5 numbers"),
        ({"covariance__order": ["A"]}, "covariance.order: "),
        ({"certificate__certified": None}, "certificate.certified"),
        ({"certificate": {}}, "certificate.kkt_residual"),
        ({"intervals__alpha3__level": 95.0}, "intervals.alpha3.level: 95.0 is not between 0 and 1"),
        ({"intervals__alpha9": {"lower": 0, "upper": 1, "level": 0.95, "method": ""}}, "no such coefficient"),
        ({"schema_version": 3}, "schema_version: input should be 2"),
        ({"warnings": "none"}, "warnings: input should be a valid list"),
    ],
)  # fmt: skip
def test_a_changed_file_is_refused_by_name(
    written: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: Record, message: str
) -> None:
    assert message in refusal(capsys, tmp_path, change(written, **changes))


@pytest.mark.parametrize("name", ["A", "alpha1", "alpha2", "alpha3", "E"])
def test_a_coefficient_changed_in_its_fourth_digit_is_named(
    written: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Inside its interval, so only the points tell."""
    value = written["coefficients"][name]
    message = refusal(capsys, tmp_path, change(written, **{f"coefficients__{name}": value * 1.002}))
    assert f"a fit to these gives {name} = {value:.10g} instead of" in message


def test_coefficients_with_their_own_objective_are_not_an_optimum(written: Record, tmp_path: Path) -> None:
    """A change of coefficients and objective together agrees with itself, but not with a fit to the points."""
    points = Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens")
    fit = fit_law(points, "mul")
    moved = {**fit.coefficients, "E": fit.coefficients["E"] + 1e-3}
    other = change(written, coefficients__E=moved["E"])
    other["objective"] = float(fit.objective_spec.value(np.log(fit.law.predict(moved, d1=points.d1, d2=points.d2)) - points.log_loss))  # fmt: skip
    path = tmp_path / "FIT.json"
    path.write_text(json.dumps(other))
    with pytest.raises(ValueError, match=r"they are not an optimum.*E = "):
        read_fit(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "not a JSON object but a list"),
        ("3", "not a JSON object but a int"),
        ("{", "not JSON: line 1"),
        ("[" * 100_000, "nested too deeply"),
        ('{"form": "mul", "form": "add"}', "key 'form' is there twice"),
        ('{"form": "mul"}', "key 'schema_version' is missing"),
        ('{"laws": {}}', "it holds several laws, not one"),
    ],
)
def test_what_is_no_fit_file_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert message in refusal(capsys, tmp_path, text)


def test_a_file_that_is_not_text_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "FIT.json"
    path.write_bytes(b"\xff\xfe\x00")
    assert str(path) in failure(capsys, "predict", str(path), *AT)


def test_the_advice_makes_the_file_again(
    written: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of version 0.1, which had no version, is refused with a command that works."""
    old = change(written, schema_version=None)
    message = refusal(capsys, tmp_path, old)
    assert "written by version 0.1" in message
    command = shlex.split(message.partition("make it again with: ")[2])
    assert command[:2] == ["twostage", "fit"]
    assert main(command[1:]) == 0
    again = json.loads((tmp_path / "FIT.json").read_text())
    assert again["coefficients"] == written["coefficients"]
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "FIT.json"), *AT]) == 0


def test_the_advice_repeats_every_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = grid()
    frame["d1_tokens"] /= 1e9
    frame.assign(kind="a b").to_csv(tmp_path / "my losses.csv", index=False)
    options = ["--where", "kind=a b", "d2>0", "--units", "d1=B", "--repeat", "mean", "--decimal", "point"]
    options += ["--accept-units", "--drop-highest", "2", "--delta", "0.002"]
    argv = [
        "fit",
        str(tmp_path / "my losses.csv"),
        "--form",
        "mul0",
        *options,
        "--out",
        str(tmp_path / "FIT.json"),
    ]
    assert main(argv) == 0
    record = json.loads((tmp_path / "FIT.json").read_text())
    capsys.readouterr()
    message = refusal(capsys, tmp_path, change(record, log_base=10))
    command = shlex.split(message.partition("make it again with: ")[2])
    assert main(command[1:]) == 0
    assert json.loads((tmp_path / "FIT.json").read_text()) == record


@pytest.mark.parametrize("objective", ["huber", "lad"])
@pytest.mark.parametrize("form", [name for name, law in FORMS.items() if "n" not in law.variables])
def test_every_form_survives_its_file(tmp_path: Path, form: str, objective: str) -> None:
    """One representation: the fit in memory is, to the last bit, the one that its file gives."""
    points = Points.from_frame(grid(), d1="d1_tokens", d2="d2_tokens")
    fit = fit_law(points, form, objective=objective, allow_degenerate=True)
    path = tmp_path / "FIT.json"
    path.write_text(fit_record(fit, points, {}))
    again, same_points = read_fit(path)
    assert same_points is not None
    np.testing.assert_array_equal(same_points.loss, points.loss)
    assert again.coefficients == fit.coefficients
    np.testing.assert_array_equal(again.theta, fit.theta)
    np.testing.assert_array_equal(again.predict(d1=3e9, d2=4e9), fit.predict(d1=3e9, d2=4e9))
    assert "centred" in path.read_text()
    assert json.loads(path.read_text())["centred"] is None


def test_a_scale_below_the_smallest_number_keeps_its_law(tmp_path: Path) -> None:
    """Exponents in the hundreds: A is 0 as a number, so the file has the centred values too, which must agree."""
    losses = [5.352315, 5.056510, 5.230996, 4.983593, 5.228623, 4.965983, 5.144339, 4.830140]
    losses += [5.011018, 4.579907, 4.812600, 4.374392]
    axes = np.meshgrid([2088, 4668, 12900], [11264, 22528], [11264, 22528], indexing="ij")
    n, d1, d2 = (axis.ravel() for axis in axes)
    points = Points(loss=np.array(losses), n=n, d1=d1, d2=d2)
    fit = fit_law(points, "joint")
    path = tmp_path / "FIT.json"
    path.write_text(fit_record(fit, points, {}))
    np.testing.assert_array_equal(read_fit(path)[0].theta, fit.theta)
    record = json.loads(path.read_text())
    assert record["coefficients"]["A"] == 0.0
    path.write_text(json.dumps(change(record, coefficients__alpha3=-38.0)))
    with pytest.raises(
        ValueError, match=r"coefficients.alpha3: -38.0 in the file, but -38\.2.* follows from centred"
    ):
        read_fit(path)


def test_infinite_coefficients_are_never_certified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses that fall fast over a range of D2 of a few thousandths: exponents in the hundreds at 1e9 tokens."""
    frame = grid()
    rank = np.arange(25) % 5
    frame["d2_tokens"] = 1e9 * (1 + 1e-3 * rank)
    frame["loss_nats"] = 1 + 3 * np.exp(-rank) + 1e-3 * np.arange(25)
    path = tmp_path / "losses.csv"
    frame.to_csv(path, index=False, float_format="%.17g")
    points = Points.from_frame(frame, d1="d1_tokens", d2="d2_tokens")
    fit = fit_law(points, "mul")
    assert not np.isfinite(list(fit.coefficients.values())).all()
    assert not fit.certificate.certified
    assert any("implausibly large" in warning for warning in fit.warnings)
    assert "not finite in raw units" in failure(capsys, "fit", str(path), "--form", "mul", "--accept-units")


def test_a_negative_exponent_is_not_used_silently(
    written: Record, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beyond D1 = exp(alpha2 / alpha3) the law says that more training raises the loss."""
    path = tmp_path / "FIT.json"
    path.write_text(json.dumps(written))
    c = written["coefficients"]
    turn = np.exp(c["alpha2"] / c["alpha3"])
    beyond = run_json(capsys, "predict", str(path), "--d1", f"{10 * turn:.6g}", "--d2", "2B")
    assert any("predicts a higher loss for more second-stage tokens" in note for note in beyond["notes"])
    before = run_json(capsys, "predict", str(path), "--d1", f"{0.1 * turn:.6g}", "--d2", "2B")
    assert not any("higher loss for more second-stage" in note for note in before["notes"])
    advice = run_json(capsys, "advise", str(path), "--d1", f"{10 * turn:.6g}", "--d2", "2B", "--draws", "20")
    assert any("predicts a higher loss for more second-stage tokens" in note for note in advice["notes"])


def test_an_interval_that_does_not_exist_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = tmp_path / "one-d1.csv", tmp_path / "FIT.json"
    frame = grid()
    frame[frame["d1_tokens"] == frame["d1_tokens"].min()].to_csv(table, index=False)
    assert main(["fit", str(table), "--form", "mul", "--allow-degenerate", "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["predict", str(out), *AT]) == 0
    shown = capsys.readouterr().out
    assert "nan" not in shown


def test_a_file_without_points_is_checked_as_far_as_it_tells(written: Record) -> None:
    bare = change(written, points=None)
    assert Fit.from_json(json.dumps(bare)).coefficients == written["coefficients"]
    with pytest.raises(ValueError, match=r"coefficients.alpha3: 0.5 is outside its interval"):
        Fit.from_json(json.dumps(change(bare, coefficients__alpha3=0.5)))
