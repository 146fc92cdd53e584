"""Token files: reading by Megatron, independence of the number of processes, manifest, and refused input."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, sha256_file, verify_payload, write_atomic
from twostage.corpora import tokens
from twostage.corpora.corpus import prepare_corpus, read_documents
from twostage.corpora.tokenizer import END_OF_DOCUMENT, make_tokenizer
from twostage.corpora.tokens import encode, encode_shards, token_dtype, tokenize_corpus
from twostage.study import BpeTokenizer, FilesCorpus

SCRIPTS = Path(__file__).parents[2] / "workflow/scripts"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with documents/manifest.json and tokenizer.json (vocabulary 300)."""
    root = tmp_path_factory.mktemp("prepared")
    draw = random.Random(2)
    words = ["".join(draw.choices("abcdefghü\n", k=draw.randint(2, 6))) for _ in range(500)]
    for number in range(150):
        write_atomic(root / f"text/{number}.txt", " ".join(draw.choices(words, k=draw.randint(1, 400))))
    corpus = FilesCorpus(source="files", paths=(f"{root}/text/*.txt",), valid_fraction=0.2)
    prepare_corpus("words", corpus, root / "documents")
    spec = BpeTokenizer(kind="bpe", vocab_size=300, train_bytes=100_000)
    write_atomic(root / "tokenizer.json", make_tokenizer(spec, [root / "documents/manifest.json"]))
    return root


@pytest.fixture(scope="module")
def made(prepared: Path) -> Path:
    tokenize_corpus(prepared / "documents/manifest.json", prepared / "tokenizer.json", prepared / "tokens")
    return prepared / "tokens"


@pytest.mark.parametrize("split", ["train", "valid"])
def test_megatron_reads_back_every_document_with_its_end_token(
    prepared: Path, made: Path, split: str
) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    dataset = IndexedDataset(str(made / split))
    tokenizer = Tokenizer.from_file(str(prepared / "tokenizer.json"))
    documents = list(read_documents(prepared / "documents/manifest.json", split))
    assert len(dataset) == len(documents) == len(dataset.document_indices) - 1
    end = tokenizer.token_to_id(END_OF_DOCUMENT)
    for index, text in enumerate(documents):
        assert dataset[index].tolist() == [*tokenizer.encode(text).ids, end]
        assert tokenizer.decode(dataset[index][:-1].tolist()) == text


def test_the_manifest_describes_the_files(prepared: Path, made: Path) -> None:
    manifest = verify_payload(made / "manifest.json")
    assert set(manifest["payload"]) == {"train.bin", "train.idx", "valid.bin", "valid.idx"}
    assert (manifest["corpus"], manifest["vocab_size"], manifest["end_of_document_id"]) == ("words", 300, 0)
    assert manifest["tokenizer_sha256"] == sha256_file(prepared / "tokenizer.json")
    documents = read_manifest(prepared / "documents/manifest.json")
    for split in ("train", "valid"):
        assert manifest["splits"][split]["tokens"] == (made / f"{split}.bin").stat().st_size // 2
        for key in ("documents", "bytes"):
            assert manifest["splits"][split][key] == documents["splits"][split][key]
    assert not [
        key for key in json.dumps(manifest).split('"') if "/" in key
    ]  # no path, so that the folder can be moved


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_files_do_not_depend_on_the_number_of_processes(
    prepared: Path, made: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "SHARD_BYTES", 5000)  # several shards per process
    tokenize_corpus(
        prepared / "documents/manifest.json", prepared / "tokenizer.json", tmp_path / "out", workers
    )
    assert sum(1 for _ in tokens._shards(read_documents(prepared / "documents/manifest.json", "train"))) > 10
    for file in made.iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_the_files_are_those_of_one_builder_without_shards(
    prepared: Path, made: Path, tmp_path: Path
) -> None:
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    tokenizer = Tokenizer.from_file(str(prepared / "tokenizer.json"))
    builder = IndexedDatasetBuilder(str(tmp_path / "valid.bin"), dtype=np.uint16)
    for text in read_documents(prepared / "documents/manifest.json", "valid"):
        builder.add_item(torch.tensor([*tokenizer.encode(text).ids, 0]))
        builder.end_document()
    builder.finalize(str(tmp_path / "valid.idx"))
    for name in ("valid.bin", "valid.idx"):
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


def test_ids_are_stored_as_megatron_would_choose() -> None:
    from megatron.core.datasets.indexed_dataset import DType

    for vocab_size in (300, 32_000, 65_499, 65_500, 70_000, 128_256):
        assert token_dtype(vocab_size) is DType.optimal_dtype(vocab_size)


def test_the_text_of_the_end_token_is_encoded_as_ordinary_text(prepared: Path) -> None:
    tokenizer = tokens.load_for_encoding(prepared / "tokenizer.json")
    shard = encode(tokenizer, [f"a {END_OF_DOCUMENT} b"], 0, 300)
    assert (shard.ids == 0).sum() == 1
    assert tokenizer.decode(shard.ids[:-1].tolist()) == f"a {END_OF_DOCUMENT} b"


def test_a_token_id_beyond_the_vocabulary_is_refused(prepared: Path) -> None:
    tokenizer = Tokenizer.from_file(str(prepared / "tokenizer.json"))
    highest = max(tokenizer.encode("abcdefgh ü").ids)
    with pytest.raises(UserError, match=rf"token id {highest} is beyond the vocabulary of {highest}"):
        encode(tokenizer, ["abcdefgh ü"], 0, highest)


def test_a_tokenizer_with_gaps_in_its_ids_is_refused(prepared: Path, tmp_path: Path) -> None:
    fields = json.loads((prepared / "tokenizer.json").read_text())
    fields["model"]["vocab"] = {token: 7 * number for token, number in fields["model"]["vocab"].items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match=r"token id \d+ is beyond the vocabulary of 300"):
        tokenize_corpus(prepared / "documents/manifest.json", tmp_path / "tokenizer.json", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_in_a_worker_process_reaches_the_caller(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = read_documents(prepared / "documents/manifest.json", "train")
    with pytest.raises(UserError, match="beyond the vocabulary of 260"):
        list(encode_shards(texts, prepared / "tokenizer.json", 260, 2))


def test_damaged_documents_are_refused(prepared: Path, tmp_path: Path) -> None:
    for file in (prepared / "documents").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = (tmp_path / "valid.jsonl.zst").read_bytes()
    (tmp_path / "valid.jsonl.zst").write_bytes(data[:-7])
    with pytest.raises(
        UserError, match=rf"valid\.jsonl\.zst: truncated.*snakemake .*-f {tmp_path}/manifest\.json"
    ):
        tokenize_corpus(tmp_path / "manifest.json", prepared / "tokenizer.json", tmp_path / "out")


def test_the_scripts_write_what_the_library_writes(prepared: Path, made: Path, tmp_path: Path) -> None:
    from twostage.corpora.dataspecs import TokenizerSpec, TokenizeSpec

    documents = str(prepared / "documents/manifest.json")
    spec = TokenizerSpec(
        tokenizer=BpeTokenizer(kind="bpe", vocab_size=300, train_bytes=100_000), corpora=("words",)
    )
    run = [
        sys.executable,
        str(SCRIPTS / "train_tokenizer.py"),
        "--spec",
        spec.canonical(),
        "--corpora",
        documents,
    ]
    subprocess.run([*run, "--out", str(tmp_path / "tokenizer.json")], check=True)
    assert (tmp_path / "tokenizer.json").read_bytes() == (prepared / "tokenizer.json").read_bytes()
    run = [
        sys.executable,
        str(SCRIPTS / "tokenize_corpus.py"),
        "--spec",
        TokenizeSpec().canonical(),
        "--documents",
        documents,
    ]
    run += [
        "--tokenizer",
        str(tmp_path / "tokenizer.json"),
        "--workers",
        "2",
        "--out",
        str(tmp_path / "tokens/manifest.json"),
    ]
    subprocess.run(run, check=True)
    assert read_manifest(tmp_path / "tokens/manifest.json") == read_manifest(made / "manifest.json")


def test_the_script_names_a_missing_manifest_without_traceback(tmp_path: Path) -> None:
    from twostage.corpora.dataspecs import TokenizeSpec

    missing = str(tmp_path / "manifest.json")
    run = [
        sys.executable,
        str(SCRIPTS / "tokenize_corpus.py"),
        "--spec",
        TokenizeSpec().canonical(),
        "--documents",
        missing,
    ]
    run += ["--tokenizer", str(tmp_path / "tokenizer.json"), "--out", str(tmp_path / "out/manifest.json")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr.strip()
        == f"error: {missing}: manifest is missing; remake it with: snakemake --profile profiles/local -f {missing}"
    )


# Splits that are too short --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "words"), [("valid", "the held-out split has"), ("train", "the training split has")]
)
def test_a_split_that_is_too_short_for_the_study_is_refused(
    prepared: Path, made: Path, tmp_path: Path, split: str, words: str
) -> None:
    found = read_manifest(made / "manifest.json")["splits"][split]["tokens"]
    inputs = (prepared / "documents/manifest.json", prepared / "tokenizer.json", tmp_path)
    with pytest.raises(UserError, match=rf"corpora\.words: {words} {found} tokens.*{found + 1}"):
        tokenize_corpus(*inputs, least_tokens={split: found + 1})
    assert not (tmp_path / "manifest.json").exists()
    tokenize_corpus(*inputs, least_tokens={split: found})
    assert (tmp_path / "manifest.json").read_bytes() == (made / "manifest.json").read_bytes()


def test_the_advised_fraction_makes_the_held_out_split_long_enough(prepared: Path, tmp_path: Path) -> None:
    corpus = FilesCorpus(source="files", paths=(f"{prepared}/text/*.txt",), valid_fraction=0.05)
    prepare_corpus("words", corpus, tmp_path / "short")
    inputs = (prepared / "tokenizer.json", tmp_path / "tokens")
    least = {"valid": 20_000}
    with pytest.raises(UserError, match="set valid_fraction to") as caught:
        tokenize_corpus(tmp_path / "short/manifest.json", *inputs, least_tokens=least)
    advised = re.search(r"valid_fraction to ([\d.]+)", str(caught.value))
    assert advised is not None
    longer = corpus.model_copy(update={"valid_fraction": float(advised[1])})
    prepare_corpus("words", longer, tmp_path / "long")
    tokenize_corpus(tmp_path / "long/manifest.json", *inputs, least_tokens=least)
