"""Converts LLaMA's `tokenizer.model`, a SentencePiece BPE with byte fallback, to a tokenizer of the `tokenizers` library.

The converted tokenizer gives the same ids for every text. Only the settings of LLaMA's model are supported; a model with other
settings is an error. The result depends only on the bytes of the model file.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from twostage.common.errors import UserError

_SPACE = "▁"  # represents a space in pieces
# Types of pieces in sentencepiece_model.proto.
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_BPE = 2  # TrainerSpec.ModelType


def convert_sentencepiece(data: bytes, where: str) -> Tokenizer:
    """Return a SentencePiece model as a tokenizer of the `tokenizers` library.

    Args:
        data: the file's bytes.
        where: the file's name, for error messages.

    Raises:
        UserError: not a SentencePiece model, or one with settings that LLaMA's model does not have.
    """
    proto = _parse(data, where)
    _require_llama_kind(proto, where)
    pieces = [piece.piece for piece in proto.pieces]
    vocab = {piece: index for index, piece in enumerate(pieces)}
    special = [piece.piece for piece in proto.pieces if piece.type in (_UNKNOWN, _CONTROL)]
    unknown = next(piece.piece for piece in proto.pieces if piece.type == _UNKNOWN)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=_merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    spaces = normalizers.Replace(" ", _SPACE)
    prefix = proto.normalizer_spec.add_dummy_prefix
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces] if prefix else [spaces])
    decoding = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*decoding, decoders.Strip(" ", 1, 0)] if prefix else decoding)
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in special])
    return tokenizer


def _parse(data: bytes, where: str) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise UserError(f"{where}: not a SentencePiece model ({error}); download it again") from None
    if not proto.pieces:
        raise UserError(f"{where}: not a SentencePiece model (it has no pieces); download it again")
    return proto


def _require_llama_kind(proto: Any, where: str) -> None:
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    problems = {
        "its model type is not BPE": trainer.model_type != _BPE,
        "it has no byte fallback, so it cannot encode every text": not trainer.byte_fallback,
        f"it changes text before encoding (rule {normalizer.name!r})": bool(normalizer.precompiled_charsmap),
        "it removes spaces": normalizer.remove_extra_whitespaces,
        "it does not escape spaces": not normalizer.escape_whitespaces,
        "it treats spaces as suffixes of words": trainer.treat_whitespace_as_suffix,
        "it has user-defined or unused pieces": any(
            piece.type in (_USER_DEFINED, _UNUSED) for piece in proto.pieces
        ),
        "it has no unknown piece": not any(piece.type == _UNKNOWN for piece in proto.pieces),
    }
    found = [problem for problem, holds in problems.items() if holds]
    if found:
        raise UserError(
            f"{where}: can't be converted exactly: {'; '.join(found)}. Use a tokenizer.json instead"
        )


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Return all pairs of pieces whose concatenation is a piece, in the order in which SentencePiece merges them.

    SentencePiece merges the neighbours whose concatenation has the highest score; `tokenizers` follows the order of the list.
    """
    scores = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    order = {piece: index for index, piece in enumerate(scores)}
    pairs = [
        (whole[:cut], whole[cut:])
        for whole in scores
        for cut in range(1, len(whole))
        if whole[:cut] in scores and whole[cut:] in scores
    ]
    return sorted(
        pairs, key=lambda pair: (-scores[pair[0] + pair[1]], order[pair[0] + pair[1]], order[pair[0]])
    )
