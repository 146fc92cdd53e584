"""Choose the attention backend of a model on a machine, with the reason. Does not import torch.

All backends compute the same causal softmax attention. They differ in speed, memory and supported head dimensions.
`model.build` builds the layer; `twostage doctor` tests whether the packages can be imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

from twostage.common.errors import UserError

Backend = Literal["sdpa", "flash", "te"]
Requested = Literal["auto", "sdpa", "flash", "te"]
Precision = Literal["bf16", "fp32"]

#: The order in which `auto` tries backends. Expected from the libraries' documentation (TE uses cuDNN's fused kernels), NOT measured.
SPEED_ORDER: tuple[Backend, ...] = ("te", "flash", "sdpa")
#: The largest head of FlashAttention 2 and of cuDNN's fused kernels.
_LARGEST_HEAD_DIM = 256
BACKEND_PACKAGES = {"te": "transformer-engine", "flash": "flash-attn", "sdpa": "PyTorch"}
_MODULES = {"te": "transformer_engine", "flash": "flash_attn", "sdpa": "torch"}


class Choice(NamedTuple):
    """A backend and the reason for the choice."""

    backend: Backend
    reason: str


def candidates(requested: Requested, head_dims: Iterable[int]) -> tuple[Backend, ...]:
    """Return the backends that a study's jobs may use, in order of preference.

    A named backend is the only candidate. For "auto", a backend is a candidate only if it supports every model of the
    study, because cells of different backends must not be compared.
    """
    if requested != "auto":
        return (requested,)
    dims = tuple(head_dims)
    return tuple(
        backend
        for backend in SPEED_ORDER
        if all(_obstacle(backend, dim, "cuda", SPEED_ORDER, "bf16") is None for dim in dims)
    )


def choose(
    allowed: tuple[Backend, ...], head_dim: int, device: str, available: Collection[str], precision: Precision
) -> Choice:
    """Choose a job's backend: the first of `allowed` (see `candidates`) that supports its model on this machine.

    Raises:
        UserError: no allowed backend supports it; the message gives the reason for each.
    """
    if len(allowed) == 1:
        return resolve(allowed[0], head_dim, device, available, precision=precision)
    rejected: list[str] = []
    for backend in SPEED_ORDER:
        why_not = _obstacle(backend, head_dim, device, available, precision)
        if why_not is None and backend not in allowed:
            why_not = "another model of the study cannot use it"
        if why_not is None:
            return Choice(backend, "; ".join([*rejected, _how(backend, head_dim)]))
        rejected.append(f"not {backend}: {why_not}")
    raise UserError(
        f"no attention backend can be used: {'; '.join(rejected)}; repair the PyTorch installation"
    )


def installed() -> frozenset[str]:
    """Return the backends whose packages are installed, without importing them. Jobs choose among these.

    `twostage doctor` imports the packages and reports a backend that a job would choose but that does not work.
    """
    return frozenset(backend for backend, module in _MODULES.items() if find_spec(module))


def resolve(
    requested: Requested,
    head_dim: int,
    device: str,
    available: Collection[str],
    *,
    precision: Precision = "bf16",
) -> Choice:
    """Choose the attention backend of one model.

    Args:
        requested: a backend, or "auto" for the first of `SPEED_ORDER` that supports this model.
        head_dim: dimensions per head.
        device: "cpu" or "cuda".
        available: backends whose packages can be imported and used on this machine; "sdpa" is part of PyTorch.
        precision: of the attention's inputs; flash and te support half precision only.

    Raises:
        UserError: the requested backend does not support this model on this machine.
    """
    if requested not in get_args(Requested):
        raise UserError(
            f"attention backend {requested!r} is unknown; use one of {', '.join(get_args(Requested))}"
        )
    if requested == "auto":
        return choose(SPEED_ORDER, head_dim, device, available, precision)
    if why_not := _obstacle(requested, head_dim, device, available, precision):
        raise UserError(
            f"attention backend {requested!r}: {why_not}; use 'sdpa', or 'auto' for the fastest one that works"
        )
    return Choice(requested, f"requested; {_how(requested, head_dim)}")


def padded_head_dim(head_dim: int) -> int:
    """Return `head_dim` rounded up to a multiple of 8, as flash kernels need (zero padding; the scale does not change)."""
    return -(-head_dim // 8) * 8


def _obstacle(
    backend: Backend, head_dim: int, device: str, available: Collection[str], precision: str
) -> str | None:
    """Return why a backend does not support a model; None if it does."""
    if backend == "sdpa":
        return None if "sdpa" in available else "PyTorch is not importable"
    if device != "cuda":
        return f"it needs CUDA, and the device is {device}"
    if precision == "fp32":
        return "it supports half precision only, and the precision is fp32"
    if backend not in available:
        return f"{BACKEND_PACKAGES[backend]} is not usable here"
    if head_dim > _LARGEST_HEAD_DIM:
        return f"head_dim {head_dim} is above {_LARGEST_HEAD_DIM}"
    if backend == "te" and head_dim % 8:
        # It would run without a fused kernel: memory and time would grow with the square of the context.
        return f"head_dim {head_dim} is not a multiple of 8, so it has no fused kernel"
    return None


def _how(backend: Backend, head_dim: int) -> str:
    padded = padded_head_dim(head_dim)
    if backend == "te" or padded == head_dim:
        return f"head_dim {head_dim} without padding"
    if backend == "flash":
        return f"head_dim {head_dim} padded to {padded}"
    return f"head_dim {head_dim}, on GPUs padded to {padded} by PyTorch"
