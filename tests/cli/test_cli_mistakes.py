"""What the commands for a table refuse, and how they end: one clear line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from law_tables import failure, grid

from twostage.cli import main


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss_nats": -1.0}, "line 6, column 'loss_nats'"),
        ({"loss_nats": float("nan")}, "line 6, column 'loss_nats'"),
        ({"d1_tokens": 0.0}, "line 6, column 'd1_tokens'"),
        ({"d2_tokens": "many"}, "line 6, column 'd2_tokens'"),
    ],
)
def test_bad_values_name_line_and_column(
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
    assert "use .csv, .tsv, .txt, .jsonl" in failure(
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
