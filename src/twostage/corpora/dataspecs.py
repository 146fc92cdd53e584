"""Specs of the data jobs: from what a corpus and the tokenizer are made, as canonical JSON for `params.spec`.

The counterpart of `design/specs.py` for the data stage. The spec of tokenising holds only the revision: everything else is
in its inputs, small files that Snakemake compares by checksum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, TypeAdapter, ValidationError

from twostage.common.errors import UserError
from twostage.common.revisions import DATA_REVISION
from twostage.corpora import embedded
from twostage.corpora.fingerprint import changed_files, has_same_files
from twostage.design.specs import Spec
from twostage.study import BpeTokenizer, Corpus, EmbeddedCorpus, FilesCorpus, Study, Tokenizer


class CorpusSpec(Spec):
    """The documents of one corpus. `versions`: of Python and the packages, for an embedded corpus."""

    revision: int = DATA_REVISION
    name: str
    corpus: Corpus
    versions: dict[str, str] = Field(default_factory=dict)

    def manifest_changes(self, manifest: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Compare with the manifest of the prepared corpus.

        A path that is spelled differently, a folder that was moved, and a larger `max_bytes` that cuts nothing off do not
        change the text, so they are not changes.

        Returns:
            Key of the corpus -> (value that it was prepared with, value now), for the keys that affect its text.
        """
        corpus = self.corpus
        try:
            before: Any = TypeAdapter(Corpus).validate_python(manifest["definition"])
        except ValidationError:
            return {"definition": (manifest["definition"], corpus.model_dump(mode="json"))}
        old, new = _fields(before), _fields(corpus)
        changes = {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}
        if "max_bytes" in changes and _is_complete(manifest, corpus.max_bytes):
            del changes["max_bytes"]
        if isinstance(before, FilesCorpus) and isinstance(corpus, FilesCorpus):
            recorded = manifest.get("sources")
            if changes.keys() == {"paths"} and has_same_files(before, corpus, recorded):
                del changes["paths"]
            elif changes.keys() <= {"paths"} and recorded and (found := changed_files(corpus, recorded)):
                changes = {"files": found}  # not the spelling of the path
        if (revision := manifest.get("revision", 1)) != self.revision:
            changes["revision"] = (revision, self.revision)
        for package, entry in manifest.get("packages", {}).items():
            if entry["version"] != self.versions.get(package):
                changes[f"version of {package}"] = (entry["version"], self.versions.get(package))
        return changes

    def check_versions(self) -> None:
        """Check that the packages of an embedded corpus have the versions that the workflow saw when it was planned.

        Raises:
            UserError: this job runs in another environment than the workflow; the message has the packages that differ.
        """
        if not isinstance(self.corpus, EmbeddedCorpus):
            return
        here = embedded.versions()
        different = sorted(
            name for name in {*here, *self.versions} if here.get(name) != self.versions.get(name)
        )
        if different:
            listed = ", ".join(
                f"{name} {here.get(name)} instead of {self.versions.get(name)}" for name in different
            )
            raise UserError(
                f"corpora.{self.name}: this job's environment has {listed}; run the workflow and its jobs in the same environment"
            )


class TokenizerSpec(Spec):
    """The study's tokenizer, and the corpora it is trained on, in their order (none for an existing file)."""

    revision: int = DATA_REVISION
    tokenizer: Tokenizer
    corpora: tuple[str, ...]


class TokenizeSpec(Spec):
    """The tokens of a corpus. Everything but the revision is in the job's inputs."""

    revision: int = DATA_REVISION


def _fields(corpus: Any) -> dict[str, Any]:
    """Return the keys of a corpus as JSON values, with those that specs leave out at their defaults."""
    every = {name: getattr(corpus, name) for name in type(corpus).model_fields}
    return {**every, **corpus.model_dump(mode="json")}


def _is_complete(manifest: Mapping[str, Any], max_bytes: int | None) -> bool:
    """Return whether reading stopped at the end of the text, and would again with `max_bytes`."""
    # Version 0.1 did not write `text_bytes`; without near-duplicates it is the size of the splits.
    splits = manifest["splits"].values()
    known = manifest["counts"]["near_duplicates_of_validation"] == 0
    text_bytes = manifest.get("text_bytes", sum(split["bytes"] for split in splits) if known else None)
    limits = [limit for limit in (manifest["definition"]["max_bytes"], max_bytes) if limit is not None]
    return text_bytes is not None and all(text_bytes < limit for limit in limits)


def corpus_spec(study: Study, name: str) -> CorpusSpec:
    """Return the spec of a prepared corpus."""
    if name not in study.corpora:
        raise UserError(f"corpus {name!r} is not in study {study.name}; it has {sorted(study.corpora)}")
    corpus = study.corpora[name]
    versions = embedded.versions() if isinstance(corpus, EmbeddedCorpus) else {}
    return CorpusSpec(name=name, corpus=corpus, versions=versions)


def tokenizer_spec(study: Study) -> TokenizerSpec:
    """Return the spec of the study's tokenizer."""
    tokenizer = study.tokenizer
    if not isinstance(tokenizer, BpeTokenizer):
        return TokenizerSpec(tokenizer=tokenizer, corpora=())
    return TokenizerSpec(tokenizer=tokenizer, corpora=tokenizer.corpora or tuple(study.corpora))
