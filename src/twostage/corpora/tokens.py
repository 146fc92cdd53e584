"""Writes the tokens of a corpus: Megatron's .bin and .idx files for each split, and their manifest.

Text is divided into shards of fixed size. Single-threaded processes encode them, and the results are written in the order of
the shards, so the bytes do not depend on the number of processes. `samples.py` reads the files.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from twostage.common.errors import UserError
from twostage.common.revisions import DATA_REVISION
from twostage.common.storage import atomic_path, payload_entries, sha256_file, verify_payload, write_manifest
from twostage.corpora.corpus import read_documents
from twostage.corpora.splits import SPLITS
from twostage.corpora.tokenizer import end_of_document_id, load_tokenizer

#: Text per shard: large enough to make the cost of sending it small, small enough to balance the load.
SHARD_BYTES = 2_000_000
# Documents per call of the library; more takes memory and is not faster.
_BATCH_DOCUMENTS = 64
# Megatron's limit for 16-bit ids (`DType.optimal_dtype`).
_UINT16_VOCAB = 65_500


@dataclass(frozen=True)
class EncodedShard:
    """Token ids of consecutive documents, each with its end-of-document token, and the documents' lengths in tokens."""

    ids: NDArray[np.unsignedinteger | np.signedinteger]
    lengths: NDArray[np.int64]
    text_bytes: int


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.int32]:
    """Return the type that Megatron uses to store ids of a vocabulary of this size."""
    return np.uint16 if vocab_size < _UINT16_VOCAB else np.int32


def encode(tokenizer: Tokenizer, texts: list[str], eod: int, vocab_size: int) -> EncodedShard:
    """Encode documents. The only special token added is `eod`, after each document.

    Raises:
        UserError: an id is not below `vocab_size`.
    """
    parts: list[list[int]] = []
    for start in range(0, len(texts), _BATCH_DOCUMENTS):
        batch = tokenizer.encode_batch_fast(texts[start : start + _BATCH_DOCUMENTS], add_special_tokens=False)
        parts.extend(encoding.ids for encoding in batch)
    lengths = np.array([len(part) + 1 for part in parts], dtype=np.int64)
    ids = np.empty(int(lengths.sum()), dtype=np.int64)
    end = 0
    for part, length in zip(parts, lengths.tolist(), strict=True):
        ids[end : end + length - 1] = part
        end += length
        ids[end - 1] = eod
    if ids.size and ids.max() >= vocab_size:
        raise UserError(
            f"token id {ids.max()} is beyond the vocabulary of {vocab_size}; set tokenizer.vocab_size to the tokenizer's size"
        )
    return EncodedShard(
        ids.astype(token_dtype(vocab_size)), lengths, sum(len(text.encode()) for text in texts)
    )


def _shards(texts: Iterable[str]) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for text in texts:
        shard.append(text)
        size += len(text)
        if size >= SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def load_for_encoding(path: str | Path) -> Tokenizer:
    """Load a tokenizer that encodes names of special tokens in documents (such as `</s>` in source code) as plain text."""
    tokenizer = load_tokenizer(path)
    tokenizer.encode_special_tokens = True
    return tokenizer


_worker: tuple[Tokenizer, int, int]


def _start_worker(tokenizer_path: str, vocab_size: int) -> None:
    global _worker
    # The library's threads do not scale and would compete with the other processes.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = load_for_encoding(tokenizer_path)
    _worker = (tokenizer, end_of_document_id(tokenizer), vocab_size)


def _encode_in_worker(texts: list[str]) -> EncodedShard:
    tokenizer, eod, vocab_size = _worker
    return encode(tokenizer, texts, eod, vocab_size)


def encode_shards(
    texts: Iterable[str], tokenizer_path: str | Path, vocab_size: int, workers: int
) -> Iterator[EncodedShard]:
    """Yield encoded shards in order. `workers` single-threaded processes encode them (1: this process)."""
    shards = _shards(texts)
    if workers == 1:
        _start_worker(str(tokenizer_path), vocab_size)
        yield from map(_encode_in_worker, shards)
        return
    # spawn, because a fork of a process with threads (of torch or the tokenizer) may hang.
    with ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), _start_worker, (str(tokenizer_path), vocab_size)
    ) as pool:
        pending: deque[Future[EncodedShard]] = deque()
        for shard in shards:
            pending.append(pool.submit(_encode_in_worker, shard))
            if len(pending) > 2 * workers:  # limits memory
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _write_split(prefix: Path, shards: Iterable[EncodedShard], vocab_size: int) -> dict[str, int]:
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    counts = {"documents": 0, "tokens": 0, "bytes": 0}
    with atomic_path(f"{prefix}.bin") as bin_path, atomic_path(f"{prefix}.idx") as idx_path:
        builder = IndexedDatasetBuilder(str(bin_path), dtype=token_dtype(vocab_size))
        for shard in shards:
            for document in np.split(shard.ids, np.cumsum(shard.lengths)[:-1]):
                builder.add_document(document, [len(document)])
            counts["documents"] += len(shard.lengths)
            counts["tokens"] += len(shard.ids)
            counts["bytes"] += shard.text_bytes
        builder.finalize(str(idx_path))
    return counts


def _require_tokens(corpus: Mapping[str, Any], split: str, found: int, least: int) -> None:
    if found >= least:
        return
    key, fraction = f"corpora.{corpus['corpus']}", corpus["definition"]["valid_fraction"]
    if split == "train":
        raise UserError(
            f"{key}: the training split has {found} tokens, but one sample has {least}; add text, or lower context"
        )
    share = fraction * 1.5 * least / max(found, 1)
    fix = f"set valid_fraction to {share:.2g} (now {fraction:g})" if share < 0.5 else "add text"
    raise UserError(
        f"{key}: the held-out split has {found} tokens, but the study's evaluations need {least} (context times samples, plus 1); "
        f"{fix}, or lower context or validation.samples"
    )


def tokenize_corpus(
    corpus_manifest: str | Path,
    tokenizer_path: str | Path,
    out: str | Path,
    workers: int = 1,
    least_tokens: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Write {train,valid}.{bin,idx} and then manifest.json of one prepared corpus; return the manifest.

    The result does not depend on `workers`.

    Args:
        corpus_manifest: manifest of the prepared corpus; its documents are verified.
        tokenizer_path: the study's tokenizer.json.
        out: output folder.
        workers: number of processes that encode.
        least_tokens: split -> tokens that the study's jobs need.

    Raises:
        UserError: a split is too short, damaged documents, an unusable tokenizer, or a token id outside the vocabulary.
    """
    out = Path(out)
    corpus = verify_payload(corpus_manifest)
    tokenizer = load_tokenizer(tokenizer_path)
    vocab_size = tokenizer.get_vocab_size()
    splits = {}
    # The held-out split is the shorter one: if it is too short, the training split need not be encoded.
    for split in reversed(SPLITS):
        shards = encode_shards(read_documents(corpus_manifest, split), tokenizer_path, vocab_size, workers)
        splits[split] = _write_split(out / split, shards, vocab_size)
        _require_tokens(corpus, split, splits[split]["tokens"], (least_tokens or {}).get(split, 0))
    manifest = {
        "revision": DATA_REVISION,
        "corpus": corpus["corpus"],
        "counts": corpus["counts"],
        "documents_sha256": {split: corpus["splits"][split]["documents_sha256"] for split in SPLITS},
        "splits": splits,
        "vocab_size": vocab_size,
        "end_of_document_id": end_of_document_id(tokenizer),
        "tokenizer_sha256": sha256_file(tokenizer_path),
        "payload": payload_entries(
            out, [f"{split}.{kind}" for split, kind in itertools.product(SPLITS, ("bin", "idx"))]
        ),
    }
    write_manifest(out / "manifest.json", manifest)
    return manifest
