"""Which attention backend a model gets on a machine, and why: a pure function, without torch.

All backends compute the same causal softmax attention; they differ in speed, in memory and in the head dimensions they
take. Building the layer is `model.py`'s job; finding out what is importable is `doctor`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

from twostage.common.errors import UserError

Backend = Literal["sdpa", "flash", "te"]
Requested = Literal["auto", "sdpa", "flash", "te"]
Precision = Literal["bf16", "fp32"]

#: What `auto` tries first. An expectation from the libraries' own notes (TE reaches cuDNN's fused kernels), NOT measured.
SPEED_ORDER: tuple[Backend, ...] = ("te", "flash", "sdpa")
#: The largest head of FlashAttention 2 and of cuDNN's fused kernels.
_LARGEST_HEAD_DIM = 256
PACKAGES = {"te": "transformer-engine", "flash": "flash-attn", "sdpa": "PyTorch"}
_MODULES = {"te": "transformer_engine", "flash": "flash_attn", "sdpa": "torch"}


class Choice(NamedTuple):
    """A backend and the sentence that explains it."""

    backend: Backend
    reason: str


def candidates(requested: Requested, head_dims: Iterable[int]) -> tuple[Backend, ...]:
    """Return the backends that a study's jobs may use, best first: one that is named, or for "auto" those that fit.

    A backend that cannot serve one of the study's models serves none, so that all models of a study use the same one
    on equal machines; cells of different backends are not compared.
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
    """Choose a job's backend: the first of `allowed` (see `candidates`) that can serve its model here, and say why.

    Raises:
        UserError: none can.
    """
    if len(allowed) == 1:
        return resolve(allowed[0], head_dim, device, available, precision=precision)
    passed_over: list[str] = []
    for backend in SPEED_ORDER:
        why_not = _obstacle(backend, head_dim, device, available, precision)
        if why_not is None and backend not in allowed:
            why_not = "another model of the study cannot use it"
        if why_not is None:
            return Choice(backend, "; ".join([*passed_over, _how(backend, head_dim)]))
        passed_over.append(f"not {backend}: {why_not}")
    raise UserError(
        f"no attention backend can be used: {'; '.join(passed_over)}; mend the PyTorch installation"
    )


def installed() -> frozenset[str]:
    """Return the backends whose packages are there, without importing them: what jobs choose from.

    `twostage doctor` looks closer, and complains where a job would choose one that cannot be used.
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
        requested: a backend, or "auto" for the first of `SPEED_ORDER` that takes this model.
        head_dim: dimensions per head.
        device: "cpu" or "cuda".
        available: backends whose packages can be imported and used on this machine; "sdpa" is part of PyTorch.
        precision: of the attention's inputs; flash and te take half precision only.

    Raises:
        UserError: an explicitly requested backend cannot serve this model here; says why and what to do.
    """
    if requested not in get_args(Requested):
        raise UserError(
            f"attention backend {requested!r} is not known; use one of {', '.join(get_args(Requested))}"
        )
    if requested == "auto":
        return choose(SPEED_ORDER, head_dim, device, available, precision)
    if why_not := _obstacle(requested, head_dim, device, available, precision):
        raise UserError(
            f"attention backend {requested!r}: {why_not}; use 'sdpa', or 'auto' for the fastest that fits"
        )
    return Choice(requested, f"requested; {_how(requested, head_dim)}")


def padded_head_dim(head_dim: int) -> int:
    """The next multiple of 8: what flash kernels compute with, zeros added (the scale stays that of `head_dim`)."""
    return -(-head_dim // 8) * 8


def _obstacle(
    backend: Backend, head_dim: int, device: str, available: Collection[str], precision: str
) -> str | None:
    """Return why a backend cannot serve a model; None where it can."""
    if backend == "sdpa":
        return None if "sdpa" in available else "PyTorch is not importable"
    if device != "cuda":
        return f"it runs on CUDA only, the device is {device}"
    if precision == "fp32":
        return "it takes half precision only, the precision is fp32"
    if backend not in available:
        return f"{PACKAGES[backend]} is not usable here"
    if head_dim > _LARGEST_HEAD_DIM:
        return f"head_dim {head_dim} is above {_LARGEST_HEAD_DIM}"
    if backend == "te" and head_dim % 8:
        # It would still run, unfused: memory and time then grow with the context's square.
        return f"head_dim {head_dim} is no multiple of 8, for which it has no fused kernel"
    return None


def _how(backend: Backend, head_dim: int) -> str:
    padded = padded_head_dim(head_dim)
    if backend == "te" or padded == head_dim:
        return f"head_dim {head_dim} as it is"
    if backend == "flash":
        return f"head_dim {head_dim} padded to {padded}"
    return f"head_dim {head_dim}, on GPUs padded to {padded} by PyTorch"
