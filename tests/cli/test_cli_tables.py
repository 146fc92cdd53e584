"""Tables as people have them: what `fit` and `compare` read, select and refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from law_tables import TRUTH, failure, run_json

from twostage.cli import main
from twostage.laws.points import Points

COLUMNS = ["--columns", "d1=D1", "d2=D2", "loss=loss"]
HEADER = "D1,D2,loss"
D1, D2 = (
    axis.ravel() for axis in np.meshgrid([1.25e9, 2.5e9, 5e9, 1e10], [5e8, 1e9, 2e9, 4e9], indexing="ij")
)
LOSS = TRUTH.loss(D2, d1=D1) * (1 + 1e-3 * np.random.default_rng(5).standard_normal(16))
LINES = [f"{a:.0f},{b:.0f},{loss:.6f}" for a, b, loss in zip(D1, D2, LOSS, strict=True)]


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Write a table and return the arguments that fit `mul0` to it."""

    def write(*lines: str, header: str = HEADER, name: str = "losses.csv", form: str = "mul0") -> list[str]:
        path = tmp_path / name
        path.write_text("\n".join([header, *lines]) + "\n")
        return ["fit", str(path), "--form", form, *COLUMNS]

    return write


def test_spellings_of_one_table_give_one_fit(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plain = run_json(capsys, *table(*LINES))["coefficients"]
    semicolons = [line.replace(",", ";").replace(".", ",") for line in LINES]
    assert run_json(capsys, *table(*semicolons, header="D1;D2;loss"))["coefficients"] == plain
    for form in ("{}BT", "{}B tokens", '"{}B"', "{} billion"):
        lines = [
            f"{form.format(a / 1e9)},{form.format(b / 1e9)},{loss:.6f}"
            for a, b, loss in zip(D1, D2, LOSS, strict=True)
        ]
        assert run_json(capsys, *table(*lines))["coefficients"] == plain
    commas = [
        f'"{a / 1e9}B","{b / 1e9}B",'.replace(".", ",") + f"{v:.6f}"
        for a, b, v in zip(D1, D2, LOSS, strict=True)
    ]
    assert run_json(capsys, *table(*commas))["coefficients"] == plain


def test_a_row_longer_than_the_header_is_refused_by_its_line(
    table: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the columns shift, and the seed becomes the loss."""
    message = failure(capsys, *table(*(f"{line},{i % 3}" for i, line in enumerate(LINES))))
    assert "losses.csv: line 2: 4 fields, but the header (line 1) has 3" in message


def test_messages_count_lines_of_the_file(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["# note", "", *LINES[:5], "2500000000,1000000000,", *LINES[6:]]
    for extra in ([], ["--where", "D1!=1.25B"]):
        message = failure(capsys, *table(*lines), *extra)
        assert "line 9, column 'loss': the value is missing" in message
    assert run_json(capsys, *table(*lines), "--where", "loss!=")["n_points"] == 15


def test_models_from_scratch_between_reused_ones_are_named(
    table: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = table(*LINES, *(f"0,{d:.0f},{3 * d**-0.01:.6f}" for d in (5e8, 1e9, 2e9, 4e9)))
    message = failure(capsys, *argv)
    assert "line 18, column 'D1': 0 tokens, a model from scratch" in message
    assert "--where 'd1>0'" in message
    assert "--scratch" in message
    assert run_json(capsys, *argv, "--where", "d1>0")["n_points"] == 16
    scratch = [*argv[:3], "power", *argv[4:], "--where", "d1=0"]
    assert run_json(capsys, *scratch)["n_points"] == 4


def test_a_cell_measured_twice_needs_a_decision(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, loss = LINES[3].split(",")
    argv = table(*LINES, f"{a},{b},{float(loss) + 0.01:.6f}")
    message = failure(capsys, *argv)
    assert "lines 5 and 18 are the same cell (D1 = 1.25e+09, D2 = 4e+09)" in message
    assert "--repeat) mean, min or seed" in message
    for how, expected in (("mean", float(loss) + 0.005), ("min", float(loss))):
        points = run_json(capsys, *argv, "--repeat", how)["points"]
        assert len(points["loss"]) == 16
        assert points["loss"][3] == pytest.approx(expected, abs=1e-9)
    points = run_json(capsys, *argv, "--repeat", "seed")["points"]
    assert len(points["loss"]) == 17
    assert [points["seed"][i] for i in (3, 16)] == [0, 1]


def test_repeats_of_a_seed_become_seeds_of_their_own() -> None:
    frame = pd.DataFrame(
        {"d2": [1e9, 1e9, 1e9, 2e9], "loss_nats": [3.0, 2.0, 2.5, 1.0], "seed": [0, 0, 1, 0]}
    )
    points = Points.from_frame(frame, d2="d2", seed="seed", repeat="seed")
    assert points.seed.tolist() == ["0", "0 again 1", "1", "0"]
    means = Points.from_frame(frame, d2="d2", seed="seed", repeat="mean")
    assert means.loss.tolist() == [2.5, 2.5, 1.0]
    assert means.seed.tolist() == [0, 1, 0]


def test_a_form_without_d1_on_a_grid_says_what_to_select(
    table: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = table(*LINES, form="power")
    assert "the form does not use D1: select one value with --where" in failure(capsys, *argv)
    assert run_json(capsys, *argv, "--where", "D1=2.5B")["n_points"] == 4


def test_one_column_is_not_used_twice(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = table(*LINES)[:4]
    message = failure(capsys, *argv, "--columns", "d1=D1", "d2=D2", "loss=D2")
    assert (
        "column 'D2' is used for loss and d2" in message or "column 'D2' is used for d2 and loss" in message
    )


def test_a_default_column_gives_way_to_a_named_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["d2_tokens,other,loss_nats", *LINES]))
    argv = ["fit", str(path), "--form", "mul0", "--columns", "d1=d2_tokens", "d2=other"]
    assert run_json(capsys, *argv)["points"]["d1"] == D1.tolist()


# Conditions ----------------------------------------------------------------------------------------------------------------


def with_width(*, empty: int) -> list[str]:
    return [
        f"{line},{'' if i == empty else 124},{'0.0003' if i % 2 else '3e-4'},{'cpt' if i else 'scratch'}"
        for i, line in enumerate(LINES)
    ]


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["width=124"], 15),
        (["width=124.0", "lr=0.0003"], 15),
        (["lr=3e-4"], 16),
        (["lr=0.30e-3", "kind!=scratch"], 15),
        (["width="], 1),
        (["width!="], 15),
        (["width!=124"], 1),
        (["d1>0"], 16),
        (["d1 > 2.5B"], 8),
        (["D1>=2.5B"], 12),
        (["d1<1e10", "d1>=2.5e9"], 8),
        (["d2<=1 billion tokens"], 8),
        (["kind==cpt"], 15),
    ],
)
def test_conditions_compare_numbers_as_numbers(
    table: Any, capsys: pytest.CaptureFixture[str], conditions: list[str], left: int
) -> None:
    argv = table(*with_width(empty=3), header=HEADER + ",width,lr,kind")
    argv += ["--drop-highest", "0", "--allow-degenerate", "--where", *conditions]
    if left >= 4:
        assert run_json(capsys, *argv)["n_points"] == left
    else:
        assert f"there are only {left} points" in failure(capsys, *argv)


def test_repeated_conditions_add_up(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = table(*with_width(empty=3), header=HEADER + ",width,lr,kind")
    assert run_json(capsys, *argv, "--where", "width=124", "--where", "kind=cpt")["n_points"] == 14
    record = run_json(capsys, *argv, "--where", "width=124", "--where", "kind=cpt")
    assert record["data"]["where"] == ["width=124", "kind=cpt"]
    columns = [*argv[:4], "--columns", "d1=D1", "--columns", "d2=D2", "loss=loss"]
    assert run_json(capsys, *columns)["n_points"] == 16


def test_conditions_that_say_nothing_are_refused(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*table(*with_width(empty=3), header=HEADER + ",width,lr,kind"), "--where"]
    assert "width has the values 124, nothing" in failure(capsys, *argv, "width=125")
    assert "is not a condition" in failure(capsys, *argv, "width")
    assert "column 'depth' is not in the table" in failure(capsys, *argv, "depth=2")
    assert "'cpt' is not a number; compare text with = or !=" in failure(capsys, *argv, "kind<cpt")
    assert "line 2, column 'kind': 'scratch' is not a number" in failure(capsys, *argv, "kind>1")


# Units ---------------------------------------------------------------------------------------------------------------------


def scaled(d1: float = 1.0, d2: float = 1.0, loss: Any = float) -> list[str]:
    return [f"{a * d1:.10g},{b * d2:.10g},{loss(v):.9f}" for a, b, v in zip(D1, D2, LOSS, strict=True)]


@pytest.mark.parametrize(
    ("lines", "doubt", "fix"),
    [
        (scaled(1e-9, 1e-9), "d1 is 1.25 to 10, too few tokens: in billions?", ["d1=B", "d2=B"]),
        (scaled(1e-6), "d1 is 1.25K to 10K, too few tokens", ["d1=M"]),
        (scaled(loss=lambda v: math.exp(3 * v)), "worse than guessing among 262,144 tokens", None),
        (scaled(loss=lambda v: 2.5), "the loss is 2.5 in all rows", None),
        ([",".join(reversed(line.split(","))) for line in LINES], "too few tokens", None),
    ],
    ids=["billions", "millions", "perplexity", "constant", "swapped"],
)
def test_other_units_are_noticed(
    table: Any, capsys: pytest.CaptureFixture[str], lines: list[str], doubt: str, fix: list[str] | None
) -> None:
    argv = table(*lines)
    message = failure(capsys, *argv)
    assert doubt in message
    assert "add --accept-units" in message
    if fix is not None:
        expected = run_json(capsys, *table(*scaled(), name="right.csv"))
        found = run_json(capsys, *argv, "--units", *fix)
        assert found["coefficients"] == pytest.approx(expected["coefficients"], rel=1e-6)
        assert run_json(capsys, *argv, "--accept-units")["n_points"] == 16


@pytest.mark.parametrize(
    ("unit", "loss"), [("bits", lambda v: v / math.log(2)), ("perplexity", lambda v: math.exp(v))]
)
def test_the_loss_may_be_in_bits_or_perplexity(
    table: Any, capsys: pytest.CaptureFixture[str], unit: str, loss: Any
) -> None:
    expected = run_json(capsys, *table(*scaled()))["coefficients"]
    found = run_json(capsys, *table(*scaled(loss=loss)), "--units", f"loss={unit}")["coefficients"]
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_constant_loss_can_be_accepted(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*table(*scaled(loss=lambda v: 2.5)), "--accept-units"]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


def test_unknown_units_are_refused(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*table(*LINES), "--units"]
    assert "use loss=bits or loss=perplexity" in failure(capsys, *argv, "loss=nat")
    assert "--units d1=X" in failure(capsys, *argv, "d1=X")
    assert "only d1, d2, n and loss have a unit" in failure(capsys, *argv, "seed=B")
    assert "'x' is not one of" in failure(capsys, *argv, "x=B")


# Designs and studies -------------------------------------------------------------------------------------------------------


def test_d2_proportional_to_d1_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then several forms are the same curve, and a ranking of them means nothing."""
    d1 = 1e9 * 1.5 ** np.arange(16)
    loss = TRUTH.loss(0.2 * d1, d1=d1) * (1 + 1e-3 * np.random.default_rng(1).standard_normal(16))
    path, forms = tmp_path / "table.csv", ["power", "mul", "mul0", "merged"]
    pd.DataFrame({"d1_tokens": d1, "d2_tokens": 0.2 * d1, "loss_nats": loss}).to_csv(path, index=False)
    compared = run_json(capsys, "compare", str(path), "--forms", *forms)
    assert any("D1 and D2 vary together" in note for note in compared["notes"])
    assert sorted(["power", "mul0", "merged"]) in [sorted(group) for group in compared["same_curve"]]
    fit = run_json(capsys, "fit", str(path), "--form", "mul")
    assert any("D1 and D2 vary together" in warning for warning in fit["warnings"])
    assert main(["compare", str(path), "--forms", "power", "mul0"]) == 0
    assert "D1 and D2 vary together" in " ".join(capsys.readouterr().out.split())


def test_a_full_grid_is_not_collinear(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    argv = table(*LINES)
    assert not any("vary together" in warning for warning in run_json(capsys, *argv)["warnings"])
    compared = run_json(capsys, "compare", argv[1], *COLUMNS, "--forms", "mul0", "merged")
    assert not any("vary together" in note for note in compared["notes"])


def test_cells_of_a_study_need_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The advice works when it is pasted."""
    grid = pd.DataFrame({"d1_tokens": D1, "d2_tokens": D2, "loss_nats": LOSS})
    common = {"seed": 0, "valid_corpus": "code", "n_base": 33000, "excluded": None}
    frames = [
        grid.assign(method="stack", model="33k", **common),
        grid.assign(method="stack", model="74k", **(common | {"n_base": 74000})),
        grid.assign(method="scratch", model="33k", d1_tokens=0, **common).iloc[:4],
    ]
    cells = pd.concat(frames, ignore_index=True)
    cells.loc[3, "excluded"] = "diverged"
    path = tmp_path / "cells.csv"
    cells.to_csv(path, index=False)
    message = failure(capsys, "fit", str(path), "--form", "mul0")
    advice = message.partition("--where ")[2].split()
    assert advice == ["method=stack", "model=33k", "excluded="]
    assert run_json(capsys, "fit", str(path), "--form", "mul0", "--where", *advice)["n_points"] == 15
    message = failure(capsys, "fit", str(path), "--form", "power")
    advice = message.partition("--where ")[2].split()
    assert run_json(capsys, "fit", str(path), "--form", "power", "--where", *advice)["n_points"] == 4
