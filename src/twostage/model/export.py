"""Converts weights-only checkpoints to Hugging Face folders, and back.

Weights are copied without change, because the canonical names are Hugging Face's. The folder also gets the model's shape
(`hf_config.py`), the tokenizer, and `manifest.json`, which is written last. Training states cannot be exported; export a decay
branch instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict, check_state
from twostage.common.errors import UserError
from twostage.common.revisions import EXPORT_REVISION
from twostage.common.storage import (
    atomic_path,
    canonical_json,
    payload_entries,
    read_json_object,
    sha256_file,
    write_atomic,
    write_manifest,
)
from twostage.corpora.tokenizer import end_of_document_id, load_tokenizer
from twostage.model.checkpoint import WEIGHTS_FILE, save_weights, verify_weights
from twostage.model.hf_config import from_hf_config, layout, to_hf_config

_CONFIG = "config.json"
_INDEX = "model.safetensors.index.json"


def export_checkpoint(checkpoint: Path, tokenizer: Path, out: Path) -> None:
    """Write a weights-only checkpoint as a folder that `transformers` loads.

    Args:
        checkpoint: manifest of the checkpoint.
        tokenizer: `tokenizer.json` of the training data; it is copied.
        out: output folder; its manifest is written last.

    Raises:
        UserError: the checkpoint is damaged or not of weights only, or the tokenizer has another vocabulary size or no
            end-of-document token.
    """
    content, architecture = verify_weights(checkpoint)
    files = {_CONFIG: "", "generation_config.json": "", **_tokenizer_files(tokenizer, architecture)}
    end_id = end_of_document_id(load_tokenizer(tokenizer))
    files[_CONFIG] = canonical_json(to_hf_config(architecture, end_id=end_id))
    files["generation_config.json"] = canonical_json({"bos_token_id": end_id, "eos_token_id": end_id})
    out.mkdir(parents=True, exist_ok=True)
    # An old manifest must not describe a folder that is partly new.
    (out / "manifest.json").unlink(missing_ok=True)
    with atomic_path(out / WEIGHTS_FILE) as temporary:
        shutil.copyfile(checkpoint.parent / WEIGHTS_FILE, temporary)
    for name, text in files.items():
        write_atomic(out / name, text)
    manifest = {
        "kind": "hugging-face",
        "revision": EXPORT_REVISION,
        "layout": layout(architecture),
        "architecture": architecture.to_json(),
        "origin": content["origin"],
        "payload": payload_entries(out, [WEIGHTS_FILE, *files]),
    }
    if manifest["payload"][WEIGHTS_FILE] != content["payload"][WEIGHTS_FILE]:
        raise UserError(f"{out / WEIGHTS_FILE}: differs from the checkpoint after copying; check the disk")
    write_manifest(out / "manifest.json", manifest)


def _tokenizer_files(path: Path, architecture: Architecture) -> dict[str, str]:
    tokenizer = load_tokenizer(path)
    size = tokenizer.get_vocab_size()
    if size != architecture.vocab_size:
        raise UserError(
            f"{path}: a vocabulary of {size}, but the checkpoint has {architecture.vocab_size}; use the tokenizer of its "
            "training data, results/<study>/tokens/tokenizer.json"
        )
    end = tokenizer.id_to_token(end_of_document_id(tokenizer))
    # In training every document follows the end-of-document token of the previous one, so this token also marks the
    # beginning. A `<s>` in the tokenizer never occurs in the training data.
    special = {"bos_token": end, "eos_token": end}
    config = {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": architecture.context,
        "clean_up_tokenization_spaces": False,
    }
    if layout(architecture) == "mistral":
        # Without this key, transformers 5 warns that a local Mistral folder may split text incorrectly.
        config["fix_mistral_regex"] = False
    return {
        "tokenizer.json": path.read_text(encoding="utf-8"),
        "tokenizer_config.json": canonical_json(config),
        "special_tokens_map.json": canonical_json(special),
    }


def read_hf(folder: Path, *, context: int | None = None) -> tuple[StateDict, Architecture]:
    """Read a Hugging Face folder (LLaMA or Mistral, safetensors); return canonical float32 weights and the architecture.

    `context` is the number of tokens per training sample; None: the model's `max_position_embeddings`.

    Raises:
        UserError: a file is missing or damaged, or the model is not supported (see `hf_config.from_hf_config`).
    """
    config = _read_json(folder / _CONFIG)
    architecture = from_hf_config(config, where=str(folder / _CONFIG), context=context)
    state: StateDict = {}
    for file in _weight_files(folder):
        try:
            state |= load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: not a complete safetensors file ({error}); download it again") from None
    # Old conversions contain the rotary frequencies, which follow from rope_theta.
    state = {
        name: tensor.float() if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor
        for name, tensor in state.items()
        if not name.endswith("rotary_emb.inv_freq")
    }
    try:
        check_state(state, architecture)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from None
    if wide := [name for name, tensor in state.items() if tensor.dtype == torch.float64]:
        raise UserError(
            f"{folder}: {wide[0]} is float64, but checkpoints are float32; convert the weights first"
        )
    return state, architecture


def import_hf(folder: Path, out: Path, *, context: int | None = None) -> Architecture:
    """Convert a Hugging Face folder to a weights-only checkpoint in the folder `out`. Raises the errors of `read_hf`."""
    state, architecture = read_hf(folder, context=context)
    digests = {file.name: sha256_file(file) for file in _weight_files(folder)}
    save_weights(out, state, architecture, origin={"kind": "import-hf", "sha256": digests})
    return architecture


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not (folder / _INDEX).is_file():
        raise UserError(
            f"{folder}: has neither {WEIGHTS_FILE} nor {_INDEX}; convert other formats first, with save_pretrained of "
            "transformers"
        )
    shards = sorted(set(_read_json(folder / _INDEX).get("weight_map", {}).values()))
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise UserError(f"{folder / missing[0]}: file is missing but listed in {_INDEX}; download it again")
    return [folder / name for name in shards]


def _read_json(path: Path) -> dict[str, Any]:
    missing = "no such file; pass the folder of a Hugging Face model"
    return read_json_object(path, missing=missing, damaged="download it again")
