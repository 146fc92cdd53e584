"""The wheel with its base set alone, in an environment of its own and outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from law_tables import AXIS, SCRATCH, TRUTH, grid

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
#: No variable that could lead to this checkout or environment.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))
}


def pip(*arguments: str | Path) -> None:
    words = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel and what it requires, in the lock's versions."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT / "src", folder / "source/src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    [wheel] = folder.glob("twostage-*.whl")
    venv.create(folder / "env", symlinks=True)
    target = ("--python", folder / "env/bin/python")
    pip(*target, "install", "--no-compile", "--constraint", ROOT / "envs/cpu.txt", wheel)
    return folder / "env"


def run(environment: Path, folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = environment / "bin" / words[0]
    return subprocess.run(
        [program, *words[1:]], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's working directory with a table, and its law as the command fitted it."""
    folder = tmp_path_factory.mktemp("user")
    grid().to_csv(folder / "losses.csv", index=False)
    table = "d2_tokens,loss_nats\n" + "".join(f"{d},{SCRATCH.loss(d)}\n" for d in AXIS)
    (folder / "scratch.csv").write_text(table)
    done = run(environment, folder, "twostage", "fit", "losses.csv", "--form", "mul", "--out", "FIT.json")
    assert done.returncode == 0, done.stderr
    return folder


def answer(environment: Path, folder: Path, *words: str | Path) -> dict[str, object]:
    done = run(environment, folder, "twostage", *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_extra_is_installed_and_the_library_is_the_wheels(environment, folder):
    code = (
        "import json, twostage, importlib.util as u; from twostage.common.extras import EXTRAS; "
        "print(json.dumps([twostage.__file__, [m for ms in EXTRAS.values() for m in ms if u.find_spec(m)]]))"
    )
    file, extras = json.loads(run(environment, folder, "python", "-c", code).stdout)
    assert Path(file).is_relative_to(environment)
    assert extras == []


def test_laws_are_fitted_compared_and_used(environment, folder):
    compared = answer(environment, folder, "compare", "losses.csv", "--forms", "mul", "add")
    assert [row["form"] for row in compared["forms"]] == ["mul", "add"]
    predicted = answer(environment, folder, "predict", "FIT.json", "--d1", "2B", "--d2", "3B")
    assert predicted["lower"] < TRUTH.loss(3e9, d1=2e9) < predicted["upper"]
    answer(environment, folder, "fit", "scratch.csv", "--form", "power", "--out", "SCRATCH.json")
    plan = ("--d1", "10B", "--d2", "1B", "--draws", "50")
    advice = answer(environment, folder, "advise", "FIT.json", "--scratch", "SCRATCH.json", *plan)
    assert advice["sentences"]


def test_the_papers_numbers_are_in_the_wheel(environment, folder):
    code = "from twostage.paper.published import published_joint_laws; print(*published_joint_laws())"
    done = run(environment, folder, "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_a_new_study_is_written_planned_and_its_figures_are_listed(environment, folder):
    for words in (
        ["new", "mine.yaml"],
        ["plan", "mine.yaml"],
        ["figures", "mine.yaml"],
        ["status", "mine.yaml"],
    ):
        done = run(environment, folder, "twostage", *words)
        assert done.returncode == 0, done.stderr


def test_every_figure_and_table_module_imports(environment, folder):
    code = (
        "import pkgutil, importlib, twostage.figures as f, twostage.tables as t, twostage.laws as l\n"
        "for p in (f, t, l):\n for m in pkgutil.iter_modules(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)"
    )
    done = run(environment, folder, "python", "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        (["export", "manifest.json", "--tokenizer", "tokenizer.json", "--out", "out"], "torch", "train"),
        (["import-hf", "model", "--out", "out"], "torch", "train"),
        (["fit", "losses.parquet", "--form", "mul"], "pyarrow", "train"),
        (["pin", "hub.yaml"], "huggingface_hub", "hub"),
    ],
)
def test_a_command_that_needs_an_extra_names_it(environment, folder, words, module, extra):
    (folder / "losses.parquet").touch()
    shutil.copy(ROOT / "config/paper.yaml", folder / "hub.yaml")
    done = run(environment, folder, "twostage", *words)
    assert done.returncode == 2
    assert done.stderr == f"twostage: error: {module} is not installed: pip install 'twostage[{extra}]'\n"


def test_a_script_that_needs_an_extra_names_it(environment, folder):
    script = ROOT / "workflow/scripts/train_tokenizer.py"
    words = ("--spec", "{}", "--out", "tokenizer.json")
    done = run(environment, folder, "python", script, *words)
    assert done.returncode == 2
    assert "error: tokenizers is not installed: pip install 'twostage[train]'" in done.stderr
