"""The study's tokenizer: a byte-level BPE trained on its corpora, or an existing tokenizer.json or tokenizer.model.

Training reads the training splits in a fixed order and is deterministic. `tokens.py` writes token files, and
`sentencepiece_bpe.py` converts a SentencePiece model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from twostage.common.errors import UserError
from twostage.common.storage import read_manifest, verify_payload
from twostage.corpora.corpus import read_documents
from twostage.corpora.hub import fetch_file
from twostage.corpora.sentencepiece_bpe import convert_sentencepiece
from twostage.study import BpeTokenizer, HuggingFaceTokenizer, TokenizerFile

END_OF_DOCUMENT = "<|endoftext|>"
#: Names of the end-of-document token in existing tokenizers, most specific first.
_KNOWN_ENDS = (END_OF_DOCUMENT, "<|end_of_text|>", "<|eod|>", "<eod>", "<eos>", "</s>")
#: 256 bytes, the end-of-document token and at least one merge.
MIN_VOCAB_SIZE = 258


def make_tokenizer(
    spec: BpeTokenizer | TokenizerFile | HuggingFaceTokenizer, corpora: Sequence[str | Path]
) -> str:
    """Return the text of the study's tokenizer.json.

    Args:
        spec: the study's `tokenizer` section.
        corpora: manifests of the prepared corpora, in the study's order; not used for an existing file.

    Raises:
        UserError: the file can't be downloaded, is not a tokenizer or has another vocabulary size; the corpora are damaged
            or too small.
    """
    if not isinstance(spec, BpeTokenizer):
        if isinstance(spec, TokenizerFile):
            path, where = Path(spec.path).expanduser(), f"tokenizer.path: {spec.path}"
        else:
            path = fetch_file(spec.repository, spec.file, spec.revision, f"tokenizer {spec.repository!r}")
            where = f"tokenizer.file: {spec.repository}/{spec.file}"
        tokenizer = _load_any(path)
        _require_size(tokenizer, spec.vocab_size, where, "set vocab_size to it")
        end_of_document_id(tokenizer)
        return tokenizer.to_str(pretty=True)
    for manifest in corpora:
        verify_payload(manifest)
    return train_bpe(_sample(corpora, spec.train_bytes), spec.vocab_size).to_str(pretty=True)


def _sample(corpora: Sequence[str | Path], train_bytes: int) -> Iterator[str]:
    """Yield every k-th training document of each corpus, so that all have an equal share of `train_bytes`.

    Documents are taken from the entire corpus and not from its beginning (our choice): files may be sorted by subject.
    """
    share = train_bytes / len(corpora)
    for manifest in corpora:
        size = read_manifest(manifest)["splits"]["train"]["bytes"]
        # A document is taken whenever the running total of `fraction` passes an integer: evenly spaced, not random.
        fraction, due = min(1.0, share / size), 0.0
        for text in read_documents(manifest, "train"):
            due += fraction
            if due >= 1.0:
                due -= 1.0
                yield text


def train_bpe(texts: Iterator[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE (GPT-2's pre-tokenizer) of exactly `vocab_size` entries; token 0 is end-of-document.

    Raises:
        UserError: `vocab_size` is below `MIN_VOCAB_SIZE`, or the texts have too few distinct pairs to reach it.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise UserError(
            f"tokenizer.vocab_size: {vocab_size} is too small; a byte-level BPE needs at least {MIN_VOCAB_SIZE} "
            "(256 bytes, the end-of-document token, one merge)"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _require_size(
        tokenizer,
        vocab_size,
        "tokenizer: the tokenizer that was trained on this text",
        "lower tokenizer.vocab_size, raise tokenizer.train_bytes, or add text",
    )
    return tokenizer


def _require_size(tokenizer: Tokenizer, vocab_size: int, where: str, fix: str) -> None:
    found = tokenizer.get_vocab_size()
    if found != vocab_size:
        raise UserError(f"{where}: has a vocabulary of {found}, the study has {vocab_size}; {fix}")


def _load_any(path: Path) -> Tokenizer:
    """Load a tokenizer.json, or convert a SentencePiece model."""
    if path.suffix != ".model":
        return load_tokenizer(path)
    if not path.is_file():
        raise UserError(f"{path}: no such tokenizer file; tokenizer.path must name a local tokenizer.model")
    return convert_sentencepiece(path.read_bytes(), str(path))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Load a tokenizer.json.

    Raises:
        UserError: the file is missing or is not a tokenizer.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such tokenizer file; tokenizer.path must name a local tokenizer.json")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises Exception itself
        raise UserError(f"{path}: not a tokenizer.json of the tokenizers library ({error})") from None


def end_of_document_id(tokenizer: Tokenizer) -> int:
    """Return the id of the end-of-document token.

    Raises:
        UserError: the tokenizer has no token with one of the known names.
    """
    for name in _KNOWN_ENDS:
        token = tokenizer.token_to_id(name)
        if token is not None:
            return int(token)
    raise UserError(
        f"the tokenizer has no end-of-document token; add one of {', '.join(_KNOWN_ENDS)} to its tokenizer.json"
    )
