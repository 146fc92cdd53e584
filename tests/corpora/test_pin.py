"""`twostage pin`: through the real client against a stand-in Hub; nothing but the commits changes."""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub_server import Hub, serve_hub

from twostage.common.errors import UserError
from twostage.corpora.pinning import find_unpinned, write_commits
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
CODE, MATH, LLAMA = "c0de" * 10, "31415926535897932384626433832795028841ab", "1111e" + "7" * 35

CORPORA = """\
corpora:   # where text comes from; PIN_ME here is only a word
  generic: {source: embedded, domain: generic,   max_bytes: 8_000_000}
  code:
    source: huggingface # PIN_ME
    dataset: owner/code
    revision: PIN_ME      # commit; see docs
    text_key: 'PIN_ME'
  math: {source: huggingface, dataset: owner/math, revision: "PIN_ME", valid_fraction: 0.03}
  done: {source: huggingface, dataset: owner/done, revision: 0000000000000000000000000000000000000abc}
tokenizer: {kind: huggingface, repository: owner/llama, revision: 'PIN_ME', vocab_size: 2048} # 'PIN_ME'
"""


def _text() -> str:
    """The tiny study with repositories instead of its corpora, and comments everywhere."""
    tiny = (ROOT / "config/tiny.yaml").read_text()
    before, rest = tiny.split("corpora:\n")
    return before + CORPORA + "\ncontext:" + rest.split("\ncontext:")[1]


@pytest.fixture
def server() -> Iterator[Hub]:
    with serve_hub() as running:
        running.add("datasets", "owner/code", {}, sha=CODE)
        running.add("datasets", "owner/math", {}, sha=MATH, gated=True)
        running.add("models", "owner/llama", {}, sha=LLAMA)
        yield running


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(_text().replace("\n", "\r\n").encode())  # line ends of another system stay, too
    return path


def _pin(server: Hub, study: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**server.environment(study.parent / "home"), "COLUMNS": "160", **variables}
    command = [sys.executable, "-m", "twostage.cli", "pin", str(study), *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_exactly_the_revisions_change(server: Hub, study: Path) -> None:
    before = study.read_bytes().decode()
    done = _pin(server, study)
    assert done.returncode == 0, done.stderr
    after = study.read_bytes().decode()
    changed = [
        line
        for line in difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
        if line.startswith(("+", "-"))
    ]
    assert changed == [
        "-     revision: PIN_ME      # commit; see docs\r\n",
        f"+     revision: {CODE}      # commit; see docs\r\n",
        '-   math: {source: huggingface, dataset: owner/math, revision: "PIN_ME", valid_fraction: 0.03}\r\n',
        f"+   math: {{source: huggingface, dataset: owner/math, revision: {MATH}, valid_fraction: 0.03}}\r\n",
        "- tokenizer: {kind: huggingface, repository: owner/llama, revision: 'PIN_ME', vocab_size: 2048} # 'PIN_ME'\r\n",
        f'+ tokenizer: {{kind: huggingface, repository: owner/llama, revision: "{LLAMA}", vocab_size: 2048}} # \'PIN_ME\'\r\n',
    ]  # fmt: skip
    pinned = load_study(study)
    assert [pinned.corpora[name].revision for name in ("code", "math")] == [CODE, MATH]
    assert pinned.tokenizer.revision == LLAMA  # quoted: a number otherwise
    for word in (
        "corpora.code.revision",
        "dataset owner/code",
        CODE,
        "tokenizer.revision",
        "model owner/llama",
        LLAMA,
    ):
        assert word in done.stdout
    assert [path.name for path in study.parent.glob("*.yaml")] == ["mine.yaml"]


def test_twice_changes_nothing_more(server: Hub, study: Path) -> None:
    _pin(server, study)
    before, asked = study.read_bytes(), len(server.requests)
    done = _pin(server, study)
    assert (done.returncode, study.read_bytes()) == (0, before)
    assert "nothing to pin" in done.stdout
    assert len(server.requests) == asked


def test_a_dry_run_shows_and_leaves_the_file(server: Hub, study: Path) -> None:
    before = study.read_bytes()
    done = _pin(server, study, "--dry-run")
    assert done.returncode == 0
    assert CODE in done.stdout
    assert "the study is unchanged" in done.stdout
    assert study.read_bytes() == before


def test_a_link_to_the_study_stays_a_link(server: Hub, study: Path) -> None:
    link = study.parent / "link.yaml"
    link.symlink_to(study)
    assert _pin(server, link).returncode == 0
    assert link.is_symlink()
    assert load_study(study).corpora["code"].revision == CODE


def test_revisions_are_pinned_in_the_file_that_holds_them(server: Hub, study: Path) -> None:
    """Only those that hold: the section `tokenizer` of the extended file is replaced, and stays as it is."""
    mine = study.parent / "other.yaml"
    tokenizer = (
        "tokenizer: {kind: huggingface, repository: owner/llama, revision: PIN_ME, vocab_size: 1024}\n"
    )
    mine.write_text(f"extends: {study.name}\n{tokenizer}")
    before = study.read_text()
    shown = _pin(server, mine, "--dry-run")
    assert (mine.read_text(), study.read_text()) == (f"extends: {study.name}\n{tokenizer}", before)
    assert CODE in shown.stdout
    done = _pin(server, mine)
    assert done.returncode == 0, done.stderr
    assert mine.read_text() == f"extends: {study.name}\n{tokenizer.replace('PIN_ME', repr(LLAMA))}".replace(
        "'", '"'
    )
    base = yaml.safe_load(study.read_text())
    assert [base["corpora"][name]["revision"] for name in ("code", "math")] == [CODE, MATH]
    assert base["tokenizer"]["revision"] == "PIN_ME"
    assert {f"Revisions of {file}" for file in (mine, study)} <= set(done.stdout.splitlines())
    assert "nothing to pin" in _pin(server, mine).stdout


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"HF_HUB_OFFLINE": "1"}, ["corpora.code.revision", "'owner/code'", "HF_HUB_OFFLINE is set"]),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, ["corpora.code.revision", "can't reach the Hub"]),
    ],
    ids=["offline", "no network"],
)
def test_without_the_hub_it_explains_and_leaves_the_file(
    server: Hub, study: Path, variables: dict[str, str], words: list[str]
) -> None:
    before = study.read_bytes()
    done = _pin(server, study, **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert study.read_bytes() == before


def test_one_unknown_repository_leaves_all_as_they_were(server: Hub, study: Path) -> None:
    del server.repositories["models", "owner/llama"]
    before = study.read_bytes()
    done = _pin(server, study)
    assert done.returncode == 2
    assert "tokenizer.revision: model 'owner/llama': not found on the Hub" in done.stderr
    assert study.read_bytes() == before


def test_an_invalid_study_is_refused_first(server: Hub, study: Path) -> None:
    study.write_text(_text().replace("owner/code", "a/b/c"))
    done = _pin(server, study)
    assert done.returncode == 2
    assert "corpora.code" in done.stderr
    assert server.requests == []


def test_anchors_and_merged_mappings_are_followed() -> None:
    text = (
        "corpora:\n"
        "  a: &base {source: huggingface, dataset: o/x, revision: &r PIN_ME, data_dir: one}\n"
        "  b: {<<: *base, data_dir: two}\n"
        "  c: {<<: *base, dataset: o/y, revision: PIN_ME}\n"
    )
    places = find_unpinned(text)
    assert [(place.key, place.repository) for place in places] == [
        ("corpora.a.revision", "o/x"), ("corpora.b.revision", "o/x"), ("corpora.c.revision", "o/y"),
    ]  # fmt: skip
    corpora = yaml.safe_load(write_commits(text, places, [CODE, CODE, MATH]))["corpora"]
    assert [corpora[name]["revision"] for name in "abc"] == [CODE, CODE, MATH]


def test_one_anchor_for_two_repositories_is_refused() -> None:
    text = "corpora:\n  a: {dataset: o/x, revision: &r PIN_ME}\n  b: {dataset: o/y, revision: *r}\n"
    with pytest.raises(UserError, match=r"corpora\.b\.revision: shares its revision"):
        write_commits(text, find_unpinned(text), [CODE, MATH])
