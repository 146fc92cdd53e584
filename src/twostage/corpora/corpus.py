"""Prepares the documents of a corpus: writes train.jsonl.zst and valid.jsonl.zst.

Reads documents (embedded, local files, Hugging Face), normalises them, drops exact duplicates, splits them by source, and
removes training documents that are near-duplicates of a validation document. The result is deterministic and does not
depend on the machine or on the order of directory listings. `tokenizer.py` and `tokens.py` turn documents into tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zstandard

from twostage.common.errors import UserError
from twostage.common.revisions import DATA_REVISION
from twostage.common.storage import atomic_path, payload_entries, write_manifest
from twostage.corpora import embedded
from twostage.corpora.digests import DigestSet, Tally
from twostage.corpora.fingerprint import fingerprint
from twostage.corpora.hub import read_huggingface
from twostage.corpora.neardup import NearDuplicates
from twostage.corpora.readers import BadText, Document, read_files
from twostage.corpora.records import json_lines
from twostage.corpora.splits import SPLITS, SplitCounts
from twostage.study import Corpus, EmbeddedCorpus, FilesCorpus, HuggingFaceCorpus

log = logging.getLogger(__name__)

_BATCH_DOCUMENTS = 512


def documents_name(split: str) -> str:
    """File name of a split's documents, in the folder of the corpus manifest."""
    return f"{split}.jsonl.zst"


def normalise(text: str) -> str:
    """Return text with \\n line ends, without byte-order mark, NULs, unpaired surrogates, and blank lines at both ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "").removeprefix("\ufeff")
    # JSON may contain an unpaired surrogate, which UTF-8 cannot encode.
    return text.encode("utf-8", "replace").decode("utf-8").strip("\n").rstrip()


def iterate(corpus: Corpus, bad: BadText | None = None) -> Iterator[Document]:
    """Yield all documents of a corpus in a fixed order, not normalised. `bad` counts the texts that are left out."""
    if isinstance(corpus, FilesCorpus):
        yield from read_files(corpus, bad)
        return
    if isinstance(corpus, HuggingFaceCorpus):
        yield from read_huggingface(corpus)
        return
    for source, texts in embedded.read_embedded(corpus.domain):
        for text in texts:
            yield Document(text, source.group, source.package)


@dataclass
class _Counts:
    read: int = 0
    empty: int = 0
    exact_duplicates: int = 0
    near_duplicates_of_validation: int = 0
    not_text: int = 0

    def to_json(self) -> dict[str, int]:
        """Return the counts. `not_text` is newer than the others and left out if 0, so that manifests keep their bytes."""
        return {name: count for name, count in asdict(self).items() if count or name != "not_text"}


def _clean_documents(corpus: Corpus, counts: _Counts) -> Iterator[Document]:
    """Yield normalised documents without exact duplicates, until `max_bytes` is reached."""
    seen = DigestSet()
    bad = BadText()
    total = 0
    for document in iterate(corpus, bad):
        counts.read += 1
        text = normalise(document.text)
        if not text.strip():
            counts.empty += 1
            continue
        encoded = text.encode()
        if not seen.add(hashlib.sha256(encoded).digest()):
            counts.exact_duplicates += 1
            continue
        yield Document(text, document.group, document.package)
        total += len(encoded)
        if corpus.max_bytes is not None and total >= corpus.max_bytes:
            break
    counts.not_text = bad.count
    if isinstance(corpus, FilesCorpus):
        bad.check(corpus, bad.files_read)


class _Writer:
    """Writes documents as lines of JSON to a zstd file and counts them, in total and per package."""

    def __init__(self, path: Path) -> None:
        self.total = Tally()
        self.packages: defaultdict[str, Tally] = defaultdict(Tally)
        self._stream = path.open("wb")
        # One thread: with several, frame boundaries would depend on timing.
        self._packed = zstandard.ZstdCompressor(level=3, write_checksum=True).stream_writer(self._stream)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._packed.close()
        self._stream.close()

    def write(self, text: str, package: str) -> None:
        encoded = text.encode()
        digest = hashlib.sha256(encoded).digest()
        self.total.add(digest, len(encoded))
        if package:
            self.packages[package].add(digest, len(encoded))
        row = {"package": package, "text": text} if package else {"text": text}
        self._packed.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _batches(path: Path) -> Iterator[list[tuple[str, str]]]:
    """Yield lists of (text, package) from a file that `_Writer` wrote."""
    batch: list[tuple[str, str]] = []
    for _, row in json_lines(path):
        batch.append((row["text"], row.get("package", "")))
        if len(batch) == _BATCH_DOCUMENTS:
            yield batch
            batch = []
    if batch:
        yield batch


def prepare_corpus(name: str, corpus: Corpus, directory: str | Path) -> dict[str, Any]:
    """Write the training and validation documents of a corpus and then their manifest; return the manifest.

    Training text is streamed. Memory holds the validation split with its shingles, and about 100 bytes per document (18 to
    37 to find exact duplicates, 32 each to count the candidates and the training split).

    Args:
        name: the corpus's name in the study, for messages.
        corpus: its section of the study. Reading stops after `max_bytes` bytes of distinct text (the last document is
            not cut).
        directory: output folder of {train,valid}.jsonl.zst (one {"text": ...} per line) and manifest.json.

    Raises:
        UserError: a file is missing or unreadable; the corpus is empty; a split holds no documents.
    """
    directory = Path(directory)
    counts = _Counts()
    splits = SplitCounts(corpus.valid_fraction)
    valid: list[str] = []
    train_path, valid_path = (directory / documents_name(split) for split in SPLITS)
    with contextlib.ExitStack() as files:
        valid_temporary = files.enter_context(atomic_path(valid_path))
        train_temporary = files.enter_context(atomic_path(train_path))
        candidates = Path(
            files.enter_context(tempfile.TemporaryDirectory(dir=directory)), "candidates.jsonl.zst"
        )
        with _Writer(candidates) as candidate_writer, _Writer(valid_temporary) as valid_writer:
            for document in _clean_documents(corpus, counts):
                if splits.add(document.group) == "train":
                    candidate_writer.write(document.text, document.package)
                else:
                    valid_writer.write(document.text, document.package)
                    valid.append(document.text)
        splits.require_both(name, corpus, counts.exact_duplicates)
        if counts.not_text:
            log.warning("corpora.%s: %d texts left out", name, counts.not_text)
        near_duplicates = NearDuplicates(valid)
        with _Writer(train_temporary) as train_writer:
            for batch in _batches(candidates):
                repeats = near_duplicates.find([text for text, _ in batch])
                counts.near_duplicates_of_validation += int(repeats.sum())
                for (text, package), repeat in zip(batch, repeats, strict=True):
                    if not repeat:
                        train_writer.write(text, package)
        if not len(train_writer.total):
            raise UserError(
                f"corpora.{name}: every training document is a near-duplicate of a validation document; add text that differs"
            )
    manifest = {
        "revision": DATA_REVISION,
        "corpus": name,
        "definition": corpus.model_dump(mode="json"),
        # The text that was read, without repetitions; less than `max_bytes` if all of it was.
        "text_bytes": candidate_writer.total.size_bytes + valid_writer.total.size_bytes,
        "counts": counts.to_json(),
        "splits": {"train": train_writer.total.to_json(), "valid": valid_writer.total.to_json()},
        "payload": payload_entries(directory, [train_path.name, valid_path.name]),
    }
    if isinstance(corpus, FilesCorpus):
        manifest["sources"] = fingerprint(corpus)
    if isinstance(corpus, EmbeddedCorpus):
        manifest["packages"] = _packages(train_writer, valid_writer)
    write_manifest(directory / "manifest.json", manifest)
    return manifest


def _packages(*writers: _Writer) -> dict[str, Any]:
    """Return version, counts and content digest of every package with documents in either split."""
    merged: defaultdict[str, Tally] = defaultdict(Tally)
    for writer in writers:
        for package, tally in writer.packages.items():
            merged[package].update(tally)
    versions = embedded.versions()
    return {
        package: {"version": versions[package], **merged[package].to_json()} for package in sorted(merged)
    }


def read_documents(manifest_path: str | Path, split: str) -> Iterator[str]:
    """Yield the texts of one split of a prepared corpus, in order. The caller must verify the payload first."""
    for batch in _batches(Path(manifest_path).parent / documents_name(split)):
        for text, _ in batch:
            yield text
