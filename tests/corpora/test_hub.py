"""Hugging Face corpora through the real `datasets`: local files, and a stand-in Hub; faults and their messages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
import yaml
import zstandard
from hub_server import HEAD, Hub, serve_hub
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import hf_raise_for_status

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest
from twostage.corpora import hub
from twostage.corpora.corpus import prepare_corpus, read_documents
from twostage.corpora.dataspecs import CorpusSpec, corpus_spec
from twostage.corpora.hub import hub_error, is_transient, read_huggingface
from twostage.corpora.readers import read_files
from twostage.study import FilesCorpus, HuggingFaceCorpus, load_study

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflow/scripts/prepare_corpus.py"
CRAWL = "RedPajamaCommonCrawl"


def _corpus(dataset: Path | str, **keys: Any) -> HuggingFaceCorpus:
    return HuggingFaceCorpus(source="huggingface", dataset=str(dataset), **keys)


def _rows(first: int, count: int) -> list[dict[str, Any]]:
    """Rows in SlimPajama's layout: text, and in `meta` where it comes from."""
    return [
        {
            "text": f"ünï {number}\n  two",
            "meta": {
                "redpajama_set_name": CRAWL if number % 3 else "RedPajamaArXiv",
                "book": f"b{number // 4}",
            },
        }
        for number in range(first, first + count)
    ]


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of four rows, packed as SlimPajama's are."""
    root = tmp_path / "copy"
    root.mkdir()
    for number in range(5):
        packed = zstandard.compress(_json_lines(_rows(4 * number, 4)))
        (root / f"chunk_{number}.jsonl.zst").write_bytes(packed)
    return root


def _texts(corpus: HuggingFaceCorpus) -> list[str]:
    return [document.text for document in read_huggingface(corpus, ())]


# Local files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".parquet"])
@pytest.mark.parametrize("as_folder", [True, False])
def test_all_formats_give_the_same_documents_in_order(tmp_path: Path, suffix: str, as_folder: bool) -> None:
    root = tmp_path / "copy"
    root.mkdir()
    for number, rows in enumerate((_rows(0, 2500), _rows(2500, 3))):
        path = root / f"part-{number}{suffix}"
        data = _json_lines(rows)
        if suffix == ".parquet":
            pd.DataFrame(rows).to_parquet(path)
        else:
            path.write_bytes(zstandard.compress(data) if suffix.endswith(".zst") else data)
    builder = "parquet" if suffix == ".parquet" else "json"
    corpus = _corpus(root) if as_folder else _corpus(builder, data_files=(f"{root}/*{suffix}",))
    documents = list(read_huggingface(corpus))
    assert [document.text for document in documents] == [row["text"] for row in _rows(0, 2503)]
    assert all(document.group == document.text for document in documents)


def test_a_filter_and_a_group_reach_into_nested_columns(folder: Path) -> None:
    corpus = _corpus(folder, filter={"meta.redpajama_set_name": CRAWL}, group_key="meta.book")
    documents = list(read_huggingface(corpus))
    expected = [row for row in _rows(0, 20) if row["meta"]["redpajama_set_name"] == CRAWL]
    assert 0 < len(expected) < 20
    assert [(document.text, document.group) for document in documents] == [
        (row["text"], row["meta"]["book"]) for row in expected
    ]


def test_the_advice_for_a_table_works_when_it_is_pasted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"body": ["a, b", "c"], "n": [1, 2]}).to_csv(path, index=False)
    with pytest.raises(UserError, match="a table, not text") as caught:
        list(read_files(FilesCorpus(source="files", paths=(str(path),), suffixes=(".csv",))))
    advised = re.search(r"with (source: .*), and text_key: the column", str(caught.value))
    assert advised is not None
    corpus = HuggingFaceCorpus(**yaml.safe_load(f"{{{advised[1]}, text_key: body}}"))
    assert _texts(corpus) == ["a, b", "c"]


def test_null_texts_are_empty(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a", None, "b"]}).to_parquet(tmp_path / "a.parquet")
    assert _texts(_corpus("parquet", data_files=(f"{tmp_path}/a.parquet",))) == ["a", "", "b"]


def test_a_column_with_a_dot_in_its_name_comes_before_a_nested_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a.b": "plain", "a": {"b": "nested"}}\n')
    assert _texts(_corpus("json", data_files=(f"{tmp_path}/a.jsonl",), text_key="a.b")) == ["plain"]


@pytest.mark.parametrize(
    ("stride", "order"), [(1, [0, 1, 2, 3, 4]), (2, [0, 2, 4, 1, 3]), (9, [0, 1, 2, 3, 4])]
)
def test_a_stride_reads_every_file_once_in_its_order(folder: Path, stride: int, order: list[int]) -> None:
    expected = [row["text"] for number in order for row in _rows(4 * number, 4)]
    assert _texts(_corpus(folder, file_stride=stride)) == expected


def test_preparing_gives_what_the_same_text_in_local_files_gives(folder: Path, tmp_path: Path) -> None:
    keys = {"valid_fraction": 0.2, "group_key": "book", "max_bytes": 1500}
    rows = [{"text": row["text"], "book": row["meta"]["book"]} for row in _rows(0, 200)]
    (folder.parent / "a.jsonl").write_bytes(_json_lines(rows))
    path = str(folder.parent / "a.jsonl")
    streamed = prepare_corpus("web", _corpus("json", data_files=(path,), **keys), tmp_path / "streamed")
    local = prepare_corpus("web", FilesCorpus(source="files", paths=(path,), **keys), tmp_path / "local")
    assert 0 < streamed["counts"]["read"] < 200
    for key in ("counts", "splits", "payload"):
        assert streamed[key] == local[key]
    assert streamed["definition"]["source"] == "huggingface"


# A stream that breaks -------------------------------------------------------------------------------------------------


class _Line:
    """Faults of a connection: each call that is due raises, once."""

    def __init__(self, due: dict[tuple[int, int], int]) -> None:
        self.due = due

    def stream(self) -> datasets.IterableDataset:
        def rows(files: list[int]) -> Iterator[dict[str, int]]:
            for file in files:
                for row in range(5):
                    if self.due.get((file, row), 0):
                        self.due[file, row] -= 1
                        raise ConnectionResetError(104, "Connection reset by peer")
                    yield {"file": file, "row": row}

        return datasets.IterableDataset.from_generator(rows, gen_kwargs={"files": [0, 1, 2]})


def _resumed(line: _Line, waits_s: tuple[float, ...]) -> Iterator[dict[str, int]]:
    return hub._resumed(line.stream(), line.stream, lambda error: UserError(f"explained: {error}"), waits_s)


@pytest.mark.parametrize("due", [{(0, 0): 1}, {(1, 3): 2}, {(0, 4): 1, (1, 0): 1, (2, 4): 2}])
def test_a_broken_stream_goes_on_behind_the_last_row(due: dict[tuple[int, int], int], caplog: Any) -> None:
    line = _Line(dict(due))
    got = [(row["file"], row["row"]) for row in _resumed(line, (0.0, 0.0))]
    assert got == [(file, row) for file in range(3) for row in range(5)]
    assert not any(line.due.values())  # every fault has happened
    assert len([record for record in caplog.records if "connection lost after row" in record.message]) == sum(
        due.values()
    )


def test_retries_are_bounded_and_a_row_that_arrives_resets_them() -> None:
    with pytest.raises(UserError, match=r"explained: .*Connection reset"):
        list(_resumed(_Line({(1, 3): 3}), (0.0, 0.0)))
    assert len(list(_resumed(_Line({(1, 3): 2, (1, 4): 2}), (0.0, 0.0)))) == 15


def test_other_errors_are_not_retried() -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"row": 0}
        raise ValueError("no connection at fault")

    opened = []

    def stream() -> datasets.IterableDataset:
        opened.append(1)
        return datasets.IterableDataset.from_generator(rows)

    with pytest.raises(UserError, match="explained"):
        list(hub._resumed(stream(), stream, lambda error: UserError(f"explained: {error}"), (0.0, 0.0)))
    assert len(opened) == 1


# A repository, over HTTP ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with serve_hub() as running:
        files = {
            f"train/{name}/chunk_{number}.jsonl.zst": zstandard.compress(
                _json_lines(_rows(100 * part + 4 * number, 4))
            )
            for part, name in enumerate((CRAWL, "RedPajamaArXiv"))
            for number in range(3)
        }
        running.add("datasets", "owner/web", files)
        running.add("datasets", "owner/gated", files, gated=True)
        yield running


# Waits of the libraries take no time here; everything else is theirs.
_PROGRAM = """
import logging, sys, time
time.sleep = lambda seconds: None
logging.basicConfig()
import datasets
datasets.config.STREAMING_READ_MAX_RETRIES = 1
from twostage.common.errors import UserError
from twostage.corpora.hub import read_huggingface
from twostage.study import HuggingFaceCorpus
for corpus in sys.argv[1:]:
    try:
        for document in read_huggingface(HuggingFaceCorpus.model_validate_json(corpus)):
            print(document.text.split()[1])
    except UserError as error:
        print("UserError:", error)
"""


def _read_in_a_process(
    environment: dict[str, str], folder: Path, *sections: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    defaults = {"source": "huggingface", "dataset": "owner/web", "revision": HEAD}
    corpora = [HuggingFaceCorpus(**{**defaults, **keys}).model_dump_json() for keys in sections or ({},)]
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *corpora],
        env=environment, cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [{"data_dir": f"train/{CRAWL}"}, {"data_files": [f"train/{CRAWL}/*.jsonl.zst"]}],
    ids=["dir", "files"],
)
def test_a_part_of_a_repository_is_streamed(server: Hub, tmp_path: Path, keys: dict[str, Any]) -> None:
    done = _read_in_a_process(server.environment(tmp_path), tmp_path, keys)
    assert done.stdout.split() == [str(number) for number in range(12)], done.stderr
    stored = [path for path in tmp_path.rglob("*") if path.suffix in (".arrow", ".zst")]
    assert stored == []


def test_the_papers_patterns_take_the_languages_of_starcoder_and_leave_what_is_no_language(
    server: Hub, tmp_path: Path
) -> None:
    """Folders as in bigcode/starcoderdata: those without code have other columns and would end the stream."""
    languages = ["ada", "c", "go", "groovy", "java", "julia", "python"]
    others = ["git-commits-cleaned", "github-issues-filtered-structured", "jupyter-scripts-dedup-filtered"]
    files = {}
    for folder in languages + others:
        for number in range(2):
            column = "content" if folder in languages else "old_contents"
            pd.DataFrame({column: [f"x {folder}{number}"]}).to_parquet(path := tmp_path / "a.parquet")
            files[f"{folder}/train-{number:05d}-of-00002.parquet"] = path.read_bytes()
    server.add("datasets", "owner/languages", files)
    patterns = ["[!gj]*/*.parquet", "g[!i]*/*.parquet", "j[!u]*/*.parquet", "ju[!p]*/*.parquet"]
    keys = {"dataset": "owner/languages", "data_files": patterns, "text_key": "content", "file_stride": 2}
    done = _read_in_a_process(server.environment(tmp_path), tmp_path, keys)
    order = ["ada", "c", "python", "go", "groovy", "java", "julia"]
    assert done.stdout.split() == [f"{name}{number}" for number in range(2) for name in order], done.stdout


MISTAKES = {
    "gated": ({"dataset": "owner/gated"}, ["gated", "accept its terms on https://huggingface.co/datasets/owner/gated", "HF_TOKEN"]),
    "no repository": ({"dataset": "owner/none"}, ["'owner/none': not found on the Hub", "correct its id"]),
    "no revision": ({"revision": "f" * 40}, ["no such revision", "twostage pin"]),
    "not pinned": ({"revision": "PIN_ME"}, ["revision is PIN_ME", "run `twostage pin STUDY.yaml`"]),
    "no config": ({"config": "nope"}, ["correct config", "'nope' not found. Available: ['default']"]),
    "no split": ({"split": "nope"}, ["correct config, split", "Available splits: ['train']"]),
    "no folder": ({"data_dir": "nope"}, ["data_dir", "nope doesn't contain any data files"]),
    "no text": ({"text_key": "content"}, ["text_key: no field 'content'", "'meta.book'", "'text'"]),
    "no group": ({"group_key": "url"}, ["group_key: no field 'url'", "'text'"]),
    "no filter": ({"filter": {"meta.set": "a"}}, ["filter: meta.set: no field 'meta.set'", "'meta.redpajama_set_name'"]),
    "not text": ({"text_key": "meta"}, ["'meta' holds dict, not text", "choose another text_key"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def explanations(server: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each mistake is answered with, all in one process: `datasets` takes seconds to import."""
    folder = tmp_path_factory.mktemp("mistakes")
    done = _read_in_a_process(server.environment(folder), folder, *(keys for keys, _ in MISTAKES.values()))
    return dict(zip(MISTAKES, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained(explanations: dict[str, str], mistake: str) -> None:
    message = explanations[mistake]
    assert message.startswith("UserError: dataset 'owner/"), message
    for word in MISTAKES[mistake][1]:
        assert word in message


def test_offline_mode_is_explained(server: Hub, tmp_path: Path) -> None:
    environment = {**server.environment(tmp_path), "HF_HUB_OFFLINE": "1"}
    message = _read_in_a_process(environment, tmp_path).stdout
    assert "UserError: dataset 'owner/web': HF_HUB_OFFLINE is set" in message
    assert "local copy" in message


def test_no_network_is_explained(server: Hub, tmp_path: Path) -> None:
    environment = {
        **server.environment(tmp_path),
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }  # nobody listens there
    message = _read_in_a_process(environment, tmp_path).stdout
    assert (
        "UserError: dataset 'owner/web': can't reach the Hub; run this job on a machine with network access"
        in message
    )


def test_a_connection_that_breaks_inside_of_a_file_loses_and_repeats_nothing(
    server: Hub, tmp_path: Path
) -> None:
    rows = [{"text": f"row {number} {'x' * 2000}"} for number in range(3000)]
    files = {"train/a.jsonl": _json_lines(rows[:10]), "train/b.jsonl": _json_lines(rows[10:])}
    cuts = {"train/b.jsonl": 9}  # `huggingface_hub` gives up after 6
    repository = server.add("datasets", "owner/large", files, cuts=cuts)
    done = _read_in_a_process(server.environment(tmp_path), tmp_path, {"dataset": "owner/large"})
    assert repository.cuts == {"train/b.jsonl": 0}
    assert "connection lost after row" in done.stderr
    assert done.stdout.split() == [str(number) for number in range(3000)]


def test_a_folder_that_would_be_read_instead_of_the_repository_is_refused(
    server: Hub, tmp_path: Path
) -> None:
    (tmp_path / "owner/web").mkdir(parents=True)
    message = _read_in_a_process(server.environment(tmp_path / "home"), tmp_path).stdout
    assert (
        "in the working directory would be read instead of the Hub's data set; write ./owner/web" in message
    )


def test_the_script_refuses_an_unpinned_corpus_and_writes_nothing(tmp_path: Path) -> None:
    spec = CorpusSpec(name="web", corpus=_corpus("owner/web", revision="PIN_ME")).canonical()
    command = [sys.executable, str(SCRIPT), "--spec", spec, "--out", str(tmp_path / "out/manifest.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: dataset 'owner/web': revision is PIN_ME, but only a fixed commit is reproducible; "
        "run `twostage pin STUDY.yaml`, which writes the current commit into the study\n"
    )
    assert not (tmp_path / "out/manifest.json").exists()


def test_the_script_prepares_a_streamed_corpus(server: Hub, tmp_path: Path) -> None:
    rows = [{"text": f"document {number} of many"} for number in range(100)]
    server.add("datasets", "owner/small", {"train.jsonl": _json_lines(rows)})
    spec = CorpusSpec(
        name="web", corpus=_corpus("owner/small", revision=HEAD, valid_fraction=0.2)
    ).canonical()
    out = tmp_path / "out/manifest.json"
    subprocess.run(
        [sys.executable, str(SCRIPT), "--spec", spec, "--out", str(out)],
        env=server.environment(tmp_path),
        check=True,
    )
    assert read_manifest(out)["definition"]["revision"] == HEAD
    texts = {text for split in ("train", "valid") for text in read_documents(out, split)}
    assert texts == {row["text"] for row in rows}


def test_errors_of_the_client_are_sorted() -> None:
    from huggingface_hub.errors import Response

    def raised(status: int, code: str = "") -> Exception:
        response = Response(status, headers={"X-Error-Code": code}, request=_request())
        with pytest.raises(HfHubHTTPError) as caught:
            hf_raise_for_status(response)
        return caught.value

    gated = raised(403, "GatedRepo")
    assert isinstance(gated, GatedRepoError)
    assert "gated: accept its terms on PAGE" in str(hub_error(gated, "dataset 'a/b'", "PAGE"))
    assert not is_transient(gated)
    assert is_transient(raised(503))
    assert is_transient(raised(429))
    assert not is_transient(raised(404, "EntryNotFound"))
    assert not is_transient(OfflineModeIsEnabled("offline"))
    assert is_transient(TimeoutError())
    assert not is_transient(KeyError("x"))


def _request() -> Any:
    from huggingface_hub import errors

    module = sys.modules[errors.Response.__module__.partition(".")[0]]
    return module.Request("GET", "http://127.0.0.1/")


# The study ------------------------------------------------------------------------------------------------------------


def _study(tmp_path: Path, **keys: Any) -> Path:
    fields = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
    fields["corpora"]["code"] = {"source": "huggingface", "dataset": "owner/web", **keys}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def test_the_revision_is_part_of_the_identity_pinned_or_not(tmp_path: Path) -> None:
    specs = [
        corpus_spec(load_study(_study(tmp_path, revision=revision)), "code").canonical()
        for revision in ("PIN_ME", HEAD)
    ]
    assert '"revision":"PIN_ME"' in specs[0]
    assert f'"revision":"{HEAD}"' in specs[1]
    assert all(CorpusSpec.parse(spec).canonical() == spec for spec in specs)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"revision": "main"}, ["corpora.code.revision", "40 hexadecimal digits", "tags can move", "PIN_ME"]),
        ({"revision": "v1.0"}, ["corpora.code.revision", "40 hexadecimal digits"]),
        ({}, ["corpora.code", "revision: missing", "PIN_ME", "twostage pin"]),
        ({"dataset": "./copy", "revision": HEAD}, ["'./copy' is local and has no revision; remove the key"]),
        ({"dataset": "json"}, ["data_files: missing", "file format"]),
        ({"dataset": "json", "data_files": ["https://a.b/c"]}, ["'https://a.b/c' is a URL", "so that its commit can be pinned"]),
        ({"dataset": "a/b/c", "revision": HEAD}, ["'a/b/c' is neither a repository id"]),
        ({"revision": HEAD, "data_files": []}, ["corpora.code.data_files"]),
        ({"revision": HEAD, "stream": True}, ["corpora.code.stream", "unknown key"]),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_sections_are_refused(tmp_path: Path, keys: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_study(_study(tmp_path, **keys))
    for word in words:
        assert word in str(caught.value)


def test_a_missing_local_folder_is_named_without_asking_the_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone' does not exist .*correct the path"):
        _texts(_corpus(tmp_path / "gone"))


def test_unreadable_local_data_are_explained(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"`datasets` could not read it.*correct dataset, data_files"):
        _texts(_corpus("parquet", data_files=(f"{tmp_path}/a.parquet",)))
