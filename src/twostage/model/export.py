"""Weights-only checkpoints as Hugging Face folders, and back.

The canonical names are Hugging Face's already, so the weights travel as they are, bit for bit; what is added is the
shape (`hf_config.py`) and the tokenizer. `manifest.json`, written last, vouches for the folder. Training states cannot
be exported: decay into a branch first.
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
        checkpoint: its manifest.
        tokenizer: the `tokenizer.json` that its training data was made with; copied as it is.
        out: the folder; its manifest is written last.

    Raises:
        UserError: damaged or other kind of checkpoint, or a tokenizer with another vocabulary or no end-of-document
            token.
    """
    content, architecture = verify_weights(checkpoint)
    files = {_CONFIG: "", "generation_config.json": "", **_tokenizer_files(tokenizer, architecture)}
    end_id = end_of_document_id(load_tokenizer(tokenizer))
    files[_CONFIG] = canonical_json(to_hf_config(architecture, end_id=end_id))
    files["generation_config.json"] = canonical_json({"bos_token_id": end_id, "eos_token_id": end_id})
    out.mkdir(parents=True, exist_ok=True)
    # No half-new folder under an old manifest.
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
            f"{path}: a vocabulary of {size}, the checkpoint has {architecture.vocab_size}; give the tokenizer of its "
            "training data, results/<study>/tokens/tokenizer.json"
        )
    end = tokenizer.id_to_token(end_of_document_id(tokenizer))
    # In training every document follows the end-of-document token of the one before, so that token is what a model
    # knows as a beginning, also where the file has a `<s>` of its own, which our data never holds.
    special = {"bos_token": end, "eos_token": end}
    config = {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": architecture.context,
        "clean_up_tokenization_spaces": False,
    }
    if layout(architecture) == "mistral":
        # transformers 5 warns about every local Mistral folder unless it is told that the text is split correctly.
        config["fix_mistral_regex"] = False
    return {
        "tokenizer.json": path.read_text(encoding="utf-8"),
        "tokenizer_config.json": canonical_json(config),
        "special_tokens_map.json": canonical_json(special),
    }


def read_hf(folder: Path, *, context: int | None = None) -> tuple[StateDict, Architecture]:
    """Read a Hugging Face folder (LLaMA or Mistral layout, safetensors) as canonical float32 weights and shape.

    `context` is the tokens per training sample; None takes the model's longest position.

    Raises:
        UserError: a file is missing or damaged, or the model is of another kind (see `hf_config.from_hf_config`).
    """
    config = _read_json(folder / _CONFIG)
    architecture = from_hf_config(config, where=str(folder / _CONFIG), context=context)
    state: StateDict = {}
    for file in _weight_files(folder):
        try:
            state |= load_file(file)
        except SafetensorError as error:
            raise UserError(f"{file}: not a whole safetensors file ({error}); download it again") from None
    # Old conversions carry the rotary frequencies, which follow from rope_theta.
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
        raise UserError(f"{folder}: {wide[0]} is float64, checkpoints are float32; convert the weights first")
    return state, architecture


def import_hf(folder: Path, out: Path, *, context: int | None = None) -> Architecture:
    """Write a Hugging Face folder as a weights-only checkpoint in the folder `out`; raises as `read_hf`."""
    state, architecture = read_hf(folder, context=context)
    digests = {file.name: sha256_file(file) for file in _weight_files(folder)}
    save_weights(out, state, architecture, origin={"kind": "import-hf", "sha256": digests})
    return architecture


def _weight_files(folder: Path) -> list[Path]:
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not (folder / _INDEX).is_file():
        raise UserError(
            f"{folder}: neither {WEIGHTS_FILE} nor {_INDEX} is there; convert other formats with transformers' "
            "save_pretrained first"
        )
    shards = sorted(set(_read_json(folder / _INDEX).get("weight_map", {}).values()))
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise UserError(f"{folder / missing[0]}: listed in {_INDEX} but missing; download it again")
    return [folder / name for name in shards]


def _read_json(path: Path) -> dict[str, Any]:
    missing = "no such file; the folder must be a Hugging Face model folder"
    return read_json_object(path, missing=missing, damaged="download it again")
