"""Reads and writes checkpoints: weights under canonical names, and full training states.

*Weights* (decay branches, grown models) are a `model.safetensors` in float32 with the names of Hugging Face's LLaMA. A *training
state* (trunks, rolling states) is in Megatron's dist_checkpointing format, which any number of ranks can read. Both have a
`manifest.json`, written last, with the model's architecture and the checksums of the files; it has no times and no hosts.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from twostage.common.architecture import Architecture
from twostage.common.canonical import StateDict, check_state
from twostage.common.errors import UserError
from twostage.common.storage import (
    RELEASED_FILE,
    atomic_path,
    fsync_file,
    payload_entries,
    read_manifest,
    verify_payload,
    write_atomic,
    write_manifest,
)
from twostage.model import transformer_engine_names as te_names
from twostage.model.ranks import on_rank_0

if TYPE_CHECKING:
    from megatron.core.models.gpt import GPTModel

WEIGHTS_FILE = "model.safetensors"

# Name in Megatron's local spec -> canonical name. The two fused weights, linear_qkv and linear_fc1, are handled below.
_OUTER = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "output_layer.weight": "lm_head.weight",
}
_LAYER = {
    "input_layernorm.weight": "input_layernorm.weight",
    "self_attention.linear_proj.weight": "self_attn.o_proj.weight",
    "pre_mlp_layernorm.weight": "post_attention_layernorm.weight",
    "mlp.linear_fc2.weight": "mlp.down_proj.weight",
}
_QKV = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight")
_GATE_UP = ("mlp.gate_proj.weight", "mlp.up_proj.weight")


def to_canonical(megatron: Mapping[str, Any], architecture: Architecture) -> StateDict:
    """Convert a Megatron state dict, of the local or transformer-engine's spec, to canonical names.

    `linear_qkv` [3 n_head head_dim, d] has [q; k; v] for each head; `linear_fc1` [2 d_mlp, d] has gate, then up. All tensors
    are copied.
    """
    a = architecture
    megatron = te_names.to_local(megatron)
    state = {canonical: megatron[name].detach().clone() for name, canonical in _OUTER.items()}
    for layer in range(a.n_layer):
        theirs, ours = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        for name, canonical in _LAYER.items():
            state[ours + canonical] = megatron[theirs + name].detach().clone()
        qkv = megatron[theirs + "self_attention.linear_qkv.weight"].detach()
        by_head = qkv.view(a.n_head, 3, a.head_dim, a.d_model)
        for index, name in enumerate(_QKV):
            state[ours + name] = by_head[:, index].reshape(a.n_head * a.head_dim, a.d_model).clone()
        for name, part in zip(
            _GATE_UP, megatron[theirs + "mlp.linear_fc1.weight"].detach().chunk(2), strict=True
        ):
            state[ours + name] = part.clone()
    return state


def from_canonical(state: StateDict, architecture: Architecture) -> StateDict:
    """Convert canonical names to a Megatron state dict of the local spec; the inverse of `to_canonical`."""
    a = architecture
    megatron = {name: state[canonical] for name, canonical in _OUTER.items()}
    for layer in range(a.n_layer):
        theirs, ours = f"decoder.layers.{layer}.", f"model.layers.{layer}."
        for name, canonical in _LAYER.items():
            megatron[theirs + name] = state[ours + canonical]
        heads = [state[ours + name].view(a.n_head, 1, a.head_dim, a.d_model) for name in _QKV]
        megatron[theirs + "self_attention.linear_qkv.weight"] = torch.cat(heads, dim=1).reshape(-1, a.d_model)
        megatron[theirs + "mlp.linear_fc1.weight"] = torch.cat([state[ours + name] for name in _GATE_UP])
    return megatron


# Weights -------------------------------------------------------------------------------------------------------------


def save_weights(
    folder: str | Path, state: StateDict, architecture: Architecture, origin: Mapping[str, Any]
) -> None:
    """Write a weights-only checkpoint and then its manifest; `origin` describes it there (step, method, ...)."""
    check_state(state, architecture)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.to(device="cpu", dtype=torch.float32).contiguous() for name, tensor in state.items()
    }
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    _write_manifest(folder, "weights", architecture, origin, [WEIGHTS_FILE])


def verify_weights(manifest: str | Path) -> tuple[dict[str, Any], Architecture]:
    """Verify a weights-only checkpoint without loading it; return its manifest and architecture.

    Raises:
        UserError: as in `load_weights`.
    """
    return _verified(manifest, "weights")


def load_weights(manifest: str | Path) -> tuple[StateDict, Architecture]:
    """Verify and load a weights-only checkpoint; return its weights and architecture.

    Raises:
        UserError: a file is missing, truncated or altered, or the checkpoint is of another kind.
    """
    _, architecture = _verified(manifest, "weights")
    return load_file(Path(manifest).parent / WEIGHTS_FILE), architecture


def load_into(model: GPTModel, state: StateDict, architecture: Architecture) -> None:
    """Copy canonical weights into a Megatron model of this architecture."""
    megatron = from_canonical(state, architecture)
    if te_names.is_fused(model.state_dict()):
        megatron = te_names.from_local(megatron)
    missing, unexpected = model.load_state_dict(megatron, strict=False)
    # Megatron reports an empty `_extra_state` of each linear layer as missing.
    lost = [name for name in missing if not name.endswith("_extra_state")]
    if lost or unexpected:
        raise UserError(
            f"the checkpoint does not match the model: missing {lost}, unexpected {unexpected}; use the checkpoint's architecture"
        )


# Training state ------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """The parts of a training state that one rank writes.

    Attributes:
        shards: Megatron's sharded tensors by key; no other rank writes them.
        common: everything else, which is equal on all ranks; rank 0 writes it.
    """

    shards: dict[str, list[Any]]
    common: dict[str, Any]


def parts_of(state: dict[str, Any]) -> Parts:
    """Return this rank's parts of a training state that is given as Megatron's sharded tensors; modifies `state`.

    Collective: all ranks must call it. It checks that the shards of all ranks cover every tensor exactly once. No tensor is
    copied or sent.
    """
    from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
    from megatron.core.dist_checkpointing.strategies import torch as strategies

    sharded, common = save_preprocess(state)
    shards, _, _ = strategies._replace_state_dict_keys_with_sharded_keys(sharded, keep_only_main_replica=True)
    return Parts(dict(shards), common)


def save_sharded(
    folder: str | Path, state: dict[str, Any], architecture: Architecture, origin: Mapping[str, Any]
) -> None:
    """Write a training state, given as Megatron's sharded tensors, and then its manifest; see `write_parts`."""
    write_parts(folder, parts_of(state), architecture, origin)


def write_parts(
    folder: str | Path,
    parts: Parts,
    architecture: Architecture,
    origin: Mapping[str, Any],
    *,
    extra_files: Mapping[str, str] | None = None,
    group: Any = None,
) -> None:
    """Write a training state and then its manifest. Collective; an error on one rank is raised on all.

    Args:
        folder: output folder; its content is replaced.
        parts: the parts of this rank.
        architecture, origin: for the manifest.
        extra_files: further files to write and list in the manifest (name: text); rank 0's are used.
        group: process group of the collective calls; None: the default group, which training uses. With a separate group,
            this function can run in a thread during training.
    """
    folder = Path(folder)
    on_rank_0(partial(_begin_state, folder, parts.common), group)
    _write_shards(folder / "state", parts.shards, group)
    on_rank_0(partial(_complete_state, folder, architecture, origin, extra_files or {}), group)


def _begin_state(folder: Path, common: dict[str, Any]) -> None:
    from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
    from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME

    state = folder / "state"
    shutil.rmtree(folder, ignore_errors=True)
    state.mkdir(parents=True)
    torch.save(common, state / COMMON_STATE_FNAME)
    save_config(CheckpointingConfig("torch_dist", 1), str(state))


def _complete_state(
    folder: Path, architecture: Architecture, origin: Mapping[str, Any], extra_files: Mapping[str, str]
) -> None:
    names = [f"state/{path.name}" for path in (folder / "state").iterdir()]
    for name in names:
        fsync_file(folder / name)
    for name, text in extra_files.items():
        write_atomic(folder / name, text)
        names.append(name)
    _write_manifest(folder, "training-state", architecture, origin, names)


def load_training_state(manifest: str | Path, model: GPTModel, optimizer: Any) -> dict[str, Any]:
    """Verify a training state and load it into `model` and `optimizer`; return the manifest's origin.

    Raises:
        UserError: a file is missing, truncated or altered, or the checkpoint is of another kind.
    """
    verify_training_state(manifest)
    sharded_model = model.sharded_state_dict()
    template = {
        "model": sharded_model,
        "optimizer": optimizer.sharded_state_dict(sharded_model, is_loading=True),
    }
    state = load_sharded(manifest, template)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    origin: dict[str, Any] = read_manifest(manifest)["origin"]
    return origin


def verify_training_state(manifest: str | Path) -> Architecture:
    """Verify a training state without loading it; return the architecture of its model.

    Raises:
        UserError: a file is missing, truncated or altered, or the checkpoint is of another kind.
    """
    _, architecture = _verified(manifest, "training-state")
    return architecture


def load_sharded(manifest: str | Path, template: dict[str, Any]) -> dict[str, Any]:
    """Load a verified training state into a template of Megatron's sharded tensors; return the filled template."""
    from megatron.core import dist_checkpointing

    state: dict[str, Any] = dist_checkpointing.load(template, str(Path(manifest).parent / "state"))
    return state


def _write_shards(folder: Path, shards: dict[str, list[Any]], group: Any) -> None:
    """Write the shards of all ranks in Megatron's format; equal states give equal bytes.

    Megatron's own writer starts another process (about 3 s for the first save on a CPU), writes a random id into each save, so
    that the manifests of two equal runs would differ, and uses the default process group.
    """
    from megatron.core.dist_checkpointing.strategies import torch as strategies
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.metadata import StorageMeta
    from torch.distributed.checkpoint.planner import SavePlan

    class WriterWithoutId(dcp.FileSystemWriter):
        def storage_meta(self) -> StorageMeta:
            return StorageMeta(checkpoint_id=None, save_id=None)

    class Planner(strategies.MCoreSavePlanner):
        def create_local_plan(self) -> SavePlan:
            plan: SavePlan = super().create_local_plan()
            for item in plan.items:
                if item.tensor_data:
                    # The copy of a GPU's state may be page-locked; the file must not depend on this.
                    item.tensor_data.properties.pin_memory = False
            return plan

    dcp.save(
        strategies.mcore_to_pyt_state_dict(shards, False),
        storage_writer=WriterWithoutId(folder),
        planner=Planner(dedup_replicated_tensors=False, flatten_state_dict=False),
        process_group=group,
    )


# Manifests -----------------------------------------------------------------------------------------------------------


def _write_manifest(
    folder: Path, kind: str, architecture: Architecture, origin: Mapping[str, Any], names: list[str]
) -> None:
    (folder / RELEASED_FILE).unlink(missing_ok=True)  # the payload is back
    manifest = {
        "kind": kind,
        "architecture": architecture.to_json(),
        "origin": dict(origin),
        "payload": payload_entries(folder, names),
    }
    write_manifest(folder / "manifest.json", manifest)


def _verified(
    manifest: str | Path, kind: Literal["weights", "training-state"]
) -> tuple[dict[str, Any], Architecture]:
    content = verify_payload(manifest)
    if content.get("kind") != kind:
        raise UserError(
            f"{os.fspath(manifest)}: a checkpoint of kind {content.get('kind')!r}; {kind!r} is needed"
        )
    return content, Architecture.from_json(content["architecture"])
