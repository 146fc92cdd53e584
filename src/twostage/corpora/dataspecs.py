"""Specs of the data jobs: from what a corpus and the tokenizer are made, as canonical JSON for `params.spec`.

The counterpart of `design/specs.py` for the data stage. The spec of tokenising holds only the revision: everything else is
in its inputs, small files that Snakemake compares by checksum.
"""

from __future__ import annotations

from pydantic import Field

from twostage.common.errors import UserError
from twostage.common.revisions import DATA_REVISION
from twostage.corpora import embedded
from twostage.design.specs import Spec
from twostage.study import Corpus, EmbeddedCorpus, Study, Tokenizer


class CorpusSpec(Spec):
    """The documents of one corpus. `versions`: of Python and the packages, for an embedded corpus."""

    revision: int = DATA_REVISION
    name: str
    corpus: Corpus
    versions: dict[str, str] = Field(default_factory=dict)

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


def corpus_spec(study: Study, name: str) -> CorpusSpec:
    """Return the spec of a prepared corpus."""
    if name not in study.corpora:
        raise UserError(f"corpus {name!r} is not in study {study.name}; it has {sorted(study.corpora)}")
    corpus = study.corpora[name]
    versions = embedded.versions() if isinstance(corpus, EmbeddedCorpus) else {}
    return CorpusSpec(name=name, corpus=corpus, versions=versions)


def tokenizer_spec(study: Study) -> TokenizerSpec:
    """Return the spec of the study's tokenizer."""
    trained = study.tokenizer.kind == "bpe"
    return TokenizerSpec(tokenizer=study.tokenizer, corpora=tuple(study.corpora) if trained else ())
