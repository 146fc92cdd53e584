"""The study's tokenizer: reproducible bytes, exact size, lossless, and refusals."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hub_server import HEAD, Hub, serve_hub
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from twostage.common.errors import UserError
from twostage.common.storage import write_atomic
from twostage.corpora.corpus import prepare_corpus, read_documents
from twostage.corpora.dataspecs import TokenizerSpec
from twostage.corpora.tokenizer import (
    END_OF_DOCUMENT,
    _sample,
    end_of_document_id,
    load_tokenizer,
    make_tokenizer,
    train_bpe,
)
from twostage.corpora.tokens import encode, load_for_encoding
from twostage.study import BpeTokenizer, FilesCorpus, HuggingFaceTokenizer, TokenizerFile

SPEC = BpeTokenizer(kind="bpe", vocab_size=400, train_bytes=60_000)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Manifests of two corpora of random words over different alphabets; the second is four times as large."""
    root = tmp_path_factory.mktemp("corpora")
    draw = random.Random(1)
    for name, alphabet, n_files in (("one", "abcdefgh", 30), ("two", "uvwxyzü", 120)):
        words = ["".join(draw.choices(alphabet, k=draw.randint(2, 6))) for _ in range(300)]
        for number in range(n_files):
            write_atomic(root / name / f"{number}.txt", " ".join(draw.choices(words, k=300)))
        corpus = FilesCorpus(source="files", paths=(f"{root}/{name}/*.txt",), valid_fraction=0.2)
        prepare_corpus(name, corpus, root / f"{name}-documents")
    return [root / "one-documents/manifest.json", root / "two-documents/manifest.json"]


@pytest.fixture(scope="module")
def trained(corpora: list[Path]) -> str:
    return make_tokenizer(SPEC, corpora)


def test_trained_twice_in_new_processes_gives_the_same_bytes(corpora: list[Path], trained: str) -> None:
    program = (
        "import sys; from twostage.study import BpeTokenizer; from twostage.corpora.tokenizer import make_tokenizer\n"
        "sys.stdout.write(make_tokenizer(BpeTokenizer(kind='bpe', vocab_size=400, train_bytes=60000), sys.argv[1:]))"
    )
    for threads in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, corpora)],
            capture_output=True,
            check=True,
            env={**os.environ, "RAYON_NUM_THREADS": threads},
        )
        assert done.stdout.decode() == trained


def test_vocabulary_holds_all_bytes_and_the_end_token_and_has_the_asked_size(trained: str) -> None:
    tokenizer = Tokenizer.from_str(trained)
    vocabulary = tokenizer.get_vocab()
    assert len(vocabulary) == tokenizer.get_vocab_size() == 400
    assert set(pre_tokenizers.ByteLevel.alphabet()) < set(vocabulary)
    assert end_of_document_id(tokenizer) == vocabulary[END_OF_DOCUMENT] == 0
    assert sorted(vocabulary.values()) == list(range(400))


@given(st.text())
@settings(deadline=None, max_examples=100)
def test_every_text_comes_back_unchanged(text: str) -> None:
    tokenizer = train_bpe(iter(["some words to learn from, learn from words"] * 3), 260)
    if END_OF_DOCUMENT not in text:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_the_first_merges_are_those_of_a_plain_byte_pair_encoding() -> None:
    """Sennrich et al. (2016), algorithm 1, on words without punctuation; ties do not occur in this text."""
    text = "abc " * 50 + "abd " * 20 + "zb " * 7
    words = [["Ġ"] * bool(index) + list(letters) for index, letters in enumerate(text.split())]
    merges = []
    for _ in range(3):
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in itertools.pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = sorted(counts, key=lambda pair: -counts[pair])
        assert counts[best[0]] > counts[best[1]]
        merges.append(list(best[0]))
        for word in words:
            for place in range(len(word) - 1):
                if word[place : place + 2] == list(best[0]):
                    word[place : place + 2] = ["".join(best[0])]
    assert json.loads(train_bpe(iter([text]), 260).to_str())["model"]["merges"] == merges


def test_corpora_have_equal_shares_spread_over_each(corpora: list[Path]) -> None:
    taken = list(_sample(corpora, 60_000))
    shares = []
    for manifest in corpora:
        documents = list(read_documents(manifest, "train"))
        places = [place for place, text in enumerate(documents) if text in set(taken)]
        shares.append(sum(len(documents[place].encode()) for place in places))
        gaps = [after - before for before, after in itertools.pairwise(places)]
        assert max(gaps) - min(gaps) <= 1
    assert sum(shares) == sum(len(text.encode()) for text in taken)
    for share in shares:
        assert share == pytest.approx(30_000, rel=0.15)


def test_validation_documents_are_never_read(corpora: list[Path]) -> None:
    taken = set(_sample(corpora, 10**9))
    assert taken == {text for manifest in corpora for text in read_documents(manifest, "train")}
    assert not taken & {text for manifest in corpora for text in read_documents(manifest, "valid")}


def test_order_of_corpora_is_fixed_by_the_caller_and_matters_only_for_equal_counts(
    corpora: list[Path],
) -> None:
    assert list(_sample(corpora, 60_000)) == list(_sample(corpora, 60_000))
    assert list(_sample(corpora, 60_000)) != list(_sample(corpora[::-1], 60_000))


@pytest.mark.parametrize("vocab_size", [1, 256, 257])
def test_a_vocabulary_smaller_than_all_bytes_is_refused(vocab_size: int) -> None:
    with pytest.raises(UserError, match=f"vocab_size: {vocab_size} is too small.*at least 258"):
        train_bpe(iter(["text"]), vocab_size)


def test_too_little_text_for_the_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match=r"this text: has a vocabulary of \d+, the study has 5000; lower"):
        train_bpe(iter(["a few words"]), 5000)


def test_damaged_documents_are_refused(corpora: list[Path], tmp_path: Path) -> None:
    for file in corpora[0].parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with (tmp_path / "train.jsonl.zst").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(UserError, match=r"train\.jsonl\.zst: truncated"):
        make_tokenizer(SPEC, [tmp_path / "manifest.json"])


def test_an_existing_file_is_taken_as_it_is(trained: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(trained)
    spec = TokenizerFile(kind="file", path=str(tmp_path / "tokenizer.json"), vocab_size=400)
    assert make_tokenizer(spec, []) == trained
    wrong = TokenizerFile(kind="file", path=str(tmp_path / "tokenizer.json"), vocab_size=401)
    with pytest.raises(UserError, match="has a vocabulary of 400, the study has 401; set vocab_size to it"):
        make_tokenizer(wrong, [])


@pytest.mark.parametrize(
    ("text", "words"), [(None, "no such tokenizer file"), ("{}", r"not a tokenizer\.json"), ("x", "not a")]
)
def test_an_unusable_tokenizer_file_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "tokenizer.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_tokenizer(path)
    assert str(path) in str(caught.value)


def test_a_tokenizer_without_end_token_is_refused() -> None:
    tokenizer = Tokenizer(models.BPE())
    with pytest.raises(UserError, match=r"no end-of-document token; add one of <\|endoftext\|>"):
        end_of_document_id(tokenizer)
    tokenizer.add_special_tokens(["</s>"])
    assert end_of_document_id(tokenizer) == 0


# An existing tokenizer.model -----------------------------------------------------------------------------------------

LLAMA_KIND = {
    "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False, "split_digits": True, "allow_whitespace_only_pieces": True,
}  # fmt: skip


def _sentencepiece(vocab_size: int = 700, **keys: object) -> bytes:
    """A real SentencePiece model with LLaMA's settings, trained on this very file."""
    lines = [line for line in Path(__file__).read_text().splitlines() if line.strip()] * 2
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocab_size,
        minloglevel=2,
        **{**LLAMA_KIND, **keys},
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama") / "tokenizer.model"
    path.write_bytes(_sentencepiece())
    return path


def _texts_for_both() -> list[str]:
    draw = random.Random(3)
    letters = "  \n\t(ab)__ü漢😀\u0301\u00a0=."
    source = Path(__file__).read_text()
    return [
        *("".join(draw.choices(letters, k=draw.randint(1, 60))) for _ in range(2000)),
        *(source[start : start + 400] for start in range(0, len(source), 400)),
        *(" " * count + "x" for count in range(30)),
        "<s> </s> <unk> <0x0A>", "a" * 50, "=" * 120, "naïve façade ﬁ ½", source,
    ]  # fmt: skip


def test_a_converted_model_gives_sentencepieces_own_ids_and_gives_the_text_back(
    llama: Path, tmp_path: Path
) -> None:
    spec = TokenizerFile(kind="file", path=str(llama), vocab_size=700)
    converted = make_tokenizer(spec, [])
    assert converted == make_tokenizer(spec, [])
    (tmp_path / "tokenizer.json").write_text(converted)
    tokenizer = load_for_encoding(tmp_path / "tokenizer.json")  # as the tokens on disk are made
    original = sentencepiece.SentencePieceProcessor(model_file=str(llama))
    fallbacks = merged_spaces = 0
    for text in _texts_for_both():
        expected = original.encode(text)
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == expected, text
        # SentencePiece writes a space as this letter, and cannot tell the two apart afterwards.
        assert tokenizer.decode(ids, skip_special_tokens=False) == text.replace("▁", " ")
        fallbacks += any(map(original.is_byte, ids))
        merged_spaces += "▁▁" in "".join(original.id_to_piece(ids))
    assert fallbacks > 100
    assert merged_spaces > 100
    assert end_of_document_id(tokenizer) == original.eos_id() == 2
    assert [tokenizer.id_to_token(index) for index in range(700)] == original.id_to_piece(list(range(700)))


def test_tokens_of_a_converted_model_count_the_bytes_of_the_text(llama: Path) -> None:
    tokenizer = Tokenizer.from_str(
        make_tokenizer(TokenizerFile(kind="file", path=str(llama), vocab_size=700), [])
    )
    tokenizer.encode_special_tokens = True
    texts = ["ünï </s> 漢", "a\n  b"]
    shard = encode(tokenizer, texts, 2, 700)
    assert shard.text_bytes == sum(len(text.encode()) for text in texts)
    assert np.flatnonzero(shard.ids == 2).tolist() == (np.cumsum(shard.lengths) - 1).tolist()


def test_a_model_of_another_size_is_refused(llama: Path) -> None:
    with pytest.raises(UserError, match="has a vocabulary of 700, the study has 32000; set vocab_size to it"):
        make_tokenizer(TokenizerFile(kind="file", path=str(llama), vocab_size=32000), [])


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"model_type": "unigram"}, "its model type is not BPE"),
        ({"byte_fallback": False}, "no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "changes text before encoding .rule 'nmt_nfkc'"),
        ({"remove_extra_whitespaces": True}, "it removes spaces"),
        ({"user_defined_symbols": ["<mask>"]}, "user-defined or unused pieces"),
    ],
)
def test_a_model_that_would_not_convert_exactly_is_refused(
    tmp_path: Path, keys: dict[str, object], words: str
) -> None:
    (tmp_path / "a.model").write_bytes(_sentencepiece(500, **keys))
    with pytest.raises(UserError, match=rf"a\.model: can't be converted exactly: .*{words}.*tokenizer\.json"):
        make_tokenizer(TokenizerFile(kind="file", path=str(tmp_path / "a.model"), vocab_size=500), [])


@pytest.mark.parametrize(
    ("data", "words"),
    [(None, "no such tokenizer file"), (b"", "no pieces"), (b"no model", "not a SentencePiece")],
)
def test_an_unusable_model_file_is_named(tmp_path: Path, data: bytes | None, words: str) -> None:
    path = tmp_path / "a.model"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=words) as caught:
        make_tokenizer(TokenizerFile(kind="file", path=str(path), vocab_size=500), [])
    assert str(path) in str(caught.value)


# From a repository ----------------------------------------------------------------------------------------------------

_SCRIPT = Path(__file__).parents[2] / "workflow/scripts/train_tokenizer.py"


@pytest.fixture(scope="module")
def server(llama: Path, trained: str) -> Iterator[Hub]:
    with serve_hub() as running:
        files = {"tokenizer.model": llama.read_bytes(), "tokenizer.json": trained.encode()}
        running.add("models", "owner/llama", files)
        running.add("models", "owner/gated", files, gated=True)
        running.add("models", "owner/empty", {})
        yield running


def _make(server: Hub, folder: Path, **keys: object) -> subprocess.CompletedProcess[str]:
    fields = {"kind": "huggingface", "repository": "owner/llama", "revision": HEAD, "vocab_size": 700, **keys}
    spec = TokenizerSpec(tokenizer=HuggingFaceTokenizer.model_validate(fields), corpora=()).canonical()
    return subprocess.run(
        [sys.executable, str(_SCRIPT), "--spec", spec, "--out", str(folder / "out.json")],
        env=server.environment(folder / "home"), capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("file", "size"), [("tokenizer.model", 700), ("tokenizer.json", 400)])
def test_a_repository_gives_what_its_file_gives(
    server: Hub, llama: Path, trained: str, tmp_path: Path, file: str, size: int
) -> None:
    done = _make(server, tmp_path, file=file, vocab_size=size)
    assert done.returncode == 0, done.stderr
    local = make_tokenizer(TokenizerFile(kind="file", path=str(llama), vocab_size=700), [])
    assert (tmp_path / "out.json").read_text() == (local if file.endswith(".model") else trained)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"revision": "PIN_ME"}, "revision is PIN_ME.*twostage pin"),
        ({"repository": "owner/gated"}, "gated: accept its terms on https://huggingface.co/owner/gated"),
        ({"repository": "owner/none"}, "not found on the Hub"),
        ({"repository": "owner/empty"}, "the repository has no file tokenizer.model"),
        ({"revision": "e" * 40}, "no such revision.*PIN_ME"),
        ({"vocab_size": 32000}, "owner/llama/tokenizer.model: has a vocabulary of 700"),
    ],
)
def test_a_repository_that_cannot_be_used_is_explained(
    server: Hub, tmp_path: Path, keys: dict[str, object], words: str
) -> None:
    done = _make(server, tmp_path, **keys)
    assert done.returncode == 2
    assert re.search(words, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()
