"""`twostage new` writes valid studies with correct comments and every key, and overwrites nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from twostage.cli import main
from twostage.cli import new as new_command
from twostage.common.architecture import Architecture
from twostage.design.design import Design
from twostage.methods.expand import expanded_architecture
from twostage.planning.jobs import planned_jobs
from twostage.study import Study, load_study, new_study

OWN = ["--corpus", "books=data/books/*.txt", "--corpus", "src=code", "--corpus", "src=more code/**/*.py"]
STARTS = {"tiny": [], "paper": ["--from", "paper"], "files": OWN, "own paper": ["--from", "paper", *OWN]}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new(name: str, *options: str) -> Path:
    assert main(["new", f"config/{name}.yaml", *options]) == 0
    return Path(f"config/{name}.yaml")


def uncommented(text: str) -> str:
    """Remove the # of commented keys (`#key`) and of the lines below them that are indented by an even number of spaces."""
    return re.sub(r"^( *)#((?:  )*)(?=[\w-])", r"\1\2", text, flags=re.MULTILINE)


@pytest.mark.parametrize("start", STARTS)
def test_what_it_writes_is_a_study(here, start):
    study = load_study(new("mine", *STARTS[start]))
    assert study.name == "mine"
    assert len(planned_jobs(Design(study)).evaluations) > 30
    assert study.stage1.corpus == next(iter(study.corpora))


def test_own_corpora_become_the_base_and_a_method_each(here):
    study = load_study(new("mine", *OWN, "--corpus", "maths=x.parquet"))
    assert {name: corpus.paths for name, corpus in study.corpora.items()} == {
        "books": ("data/books/*.txt",),
        "src": ("code", "more code/**/*.py"),
        "maths": ("x.parquet",),
    }
    assert study.stage1.corpus == "books"
    assert list(study.methods) == ["cpt-src", "cpt-maths", "stack"]


def test_one_corpus_is_enough(here):
    study = load_study(new("mine", "--corpus", "books=data"))
    assert list(study.methods) == ["stack"]


def lines_with_keys(text: str) -> set[str]:
    return set(re.findall(r"[\w-]+(?=:)", text))


def schema_keys() -> set[str]:
    schema = Study.model_json_schema()
    keys = set(schema["properties"]) - {"name"}
    for definition in schema["$defs"].values():
        keys |= set(definition.get("properties", {}))
    return keys


def test_the_templates_have_every_key_of_a_study(here):
    """A new key needs a line, active or commented, in src/twostage/study/templates/."""
    texts = [new(f"study{place}", *options).read_text() for place, options in enumerate(STARTS.values())]
    missing = schema_keys() - set().union(*map(lines_with_keys, texts))
    assert not missing, f"no line in src/twostage/study/templates/ for {sorted(missing)}"


def uncomment(start):
    """Write a new study and remove the # of its commented keys; return the file and the study before and after."""
    path = new("mine", *STARTS[start])
    before = load_study(path)
    path.write_text(uncommented(path.read_text()))
    return path, before, load_study(f"{path}:full")


@pytest.mark.parametrize("start", STARTS)
def test_commented_keys_are_valid_when_their_hash_is_removed(here, start):
    path, before, study = uncomment(start)
    assert study != before
    fields = yaml.safe_load(path.read_text())
    for key in (
        "validation",
        "repeats",
        "scratch",
        "ablations",
        "excluded_cells",
        "cells_table",
        "subsets",
        "figures",
    ):
        assert key in fields
    assert "expand" in study.methods
    assert load_study(path).methods.keys() == {"stack"}  # the default_subset of the example


@pytest.mark.parametrize("start", STARTS)
def test_keys_at_defaults_are_the_defaults(here, start):
    """Uncommenting the recipe, the laws and the model's shape changes nothing."""
    _, before, after = uncomment(start)
    assert after.recipe == before.recipe
    assert after.laws.huber_delta == before.laws.huber_delta
    for name in before.models:
        assert after.architecture(name) == before.architecture(name)
        assert after.models[name].effective_init_std == pytest.approx(
            before.models[name].effective_init_std, rel=0.03
        )


@pytest.mark.parametrize("start", ["tiny", "paper"])
def test_the_wider_shape_in_the_comment_doubles_the_model(here, start):
    path = new("mine", *STARTS[start])
    path.write_text(uncommented(path.read_text()))
    study = load_study(f"{path}:full")
    model, shape = next(iter(study.methods["expand"].shapes.items()))
    base: Architecture = study.architecture(model)
    wide = expanded_architecture(base, **shape.model_dump())
    assert wide.n_params / base.n_params == pytest.approx(2, rel=0.06)


def test_token_counts_in_the_comments_are_right(here):
    tiny = new("a").read_text()
    design = Design(load_study("config/a.yaml"))
    lengths = [design.branch_tokens("33k", steps) for steps in (100, 200, 400, 800)]
    assert "D1 = " + ", ".join(f"{tokens / 1e3:.0f}k" for tokens in lengths) + " tokens" in tiny
    paper = " ".join(new("b", "--from", "paper").read_text().replace("\n#", "").split())
    design = Design(load_study("config/b.yaml"))
    lengths = [design.branch_tokens("0.1B", steps) / 1e9 for steps in (1000, 2000, 4000, 8000, 16000)]
    assert ", ".join(f"{length:.2f}" for length in lengths[:4]) + f" and {lengths[4]:.2f} billion" in paper


def test_the_command_offers_every_start():
    assert tuple(new_study.STARTS) == new_command.STARTS


def test_nothing_is_overwritten(here, capsys):
    path = new("mine")
    before = path.read_bytes()
    assert main(["new", str(path), "--from", "paper"]) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["config/x.yaml", "--from", "files"], "--from files: no files given; add e.g. --corpus books="),
        (["config/x.yaml", "--corpus", "books"], "--corpus: 'books' is not of the form NAME=PATH"),
        (["config/x.txt"], "write config/x.yaml"),
        (["config/published.yaml"], "'published' is reserved"),
        (["config/my study.yaml"], "name"),
        (["config/x.yaml", "--corpus", "my books=data"], "my books"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(here, capsys, arguments, words):
    assert main(["new", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not Path(arguments[0]).exists()


def test_missing_text_is_mentioned(here, capsys):
    new("mine", *OWN)
    out = capsys.readouterr().out
    assert "Note:    corpora.books: paths: 'data/books/*.txt' matches no file" in out
    assert "Note:    corpora.src: paths: 'code' does not exist" in out


@pytest.mark.parametrize(
    "path",
    [
        "Bob's data/*.txt",
        'a "b"/x.txt',
        "[2024] books",
        "a, b/c.txt",
        "a: b #c.txt",
        "{x}.txt",
        "\\t/ü\u2028.txt",
        "no",
        "*.txt",
        "-",
    ],
)
def test_any_path_is_valid_yaml(here, path):
    assert load_study(new("mine", "--corpus", f"books={path}")).corpora["books"].paths == (path,)


@pytest.mark.parametrize("name", ["no", "on", "null", "true", "123", "1e5", "1.5", "0x1F"])
def test_any_name_of_a_corpus_is_read_as_text(here, name):
    study = load_study(new("mine", "--corpus", f"{name}=data", "--corpus", f"{name}2=more"))
    assert list(study.corpora) == [name, f"{name}2"]
    assert study.stage1.corpus == name


@pytest.mark.parametrize(
    ("names", "suffixes"),
    [
        (["a.txt", "b.txt", "README.md"], (".txt",)),
        (["a.jsonl.gz", "sub/b.jsonl.gz", "info.json"], (".jsonl.gz",)),
        (["a.json.gz"], (".json.gz",)),
        (["a.py", "b.py", "c.txt"], (".py",)),
        (["a.js", "b.js", "c.png"], (".js",)),
        (["README"], (".py",)),
    ],
)
def test_the_endings_of_a_folder_are_found(here, names, suffixes):
    for name in names:
        (here / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (here / "data" / name).write_text("text")
    (here / "data/up").symlink_to(here / "data")
    assert load_study(new("mine", "--corpus", "books=data")).corpora["books"].suffixes == suffixes


def test_templates_are_package_data():
    import tomllib

    root = Path(__file__).parents[2]
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["twostage.study"]
    packed = {path for pattern in patterns for path in (root / "src/twostage/study").glob(pattern)}
    assert packed == set((root / "src/twostage/study/templates").iterdir())
