"""Width expansion of the weights of a model, for `expand`.

Pure functions of a canonical state dict: no files, no Megatron, no GPU, no global random numbers. Needs torch, so only
`Expand.grow` imports this module.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import torch

from twostage.common.architecture import Architecture
from twostage.common.canonical import (
    EMBEDDING,
    StateDict,
    canonical_axes,
    canonical_shapes,
    check_state,
    parse_name,
)
from twostage.methods.expand import rescaled_norm_eps


def expand_width(
    state: StateDict,
    arch: Architecture,
    target: Architecture,
    *,
    seed: int,
    split: Literal["random", "equal"] = "random",
    init: Literal["duplicate", "zero"] = "duplicate",
    init_std: float | None = None,
) -> StateDict:
    """Widen a model so that it computes the same function, RMSNorm included, for any target width.

    `duplicate` (C.5 of arXiv 2510.06548, as an isometry so that it stays exact under RMSNorm): residual neuron i gets
    r_i copies, each of value x_i / sqrt(r_i); the sum of squares is unchanged and RMS' = RMS sqrt(d/d').

    - What writes residual neuron i (embedding columns, rows of `o_proj` and `down_proj`) is divided by sqrt(r_i).
    - Norm gains are multiplied by sqrt(d/d'); the norm epsilon by d/d' (it is `target.norm_eps`).
    - Columns that read residual neuron i are multiplied by sqrt(r_i) and by shares that sum to 1 over its copies.
    - Heads and MLP neurons: incoming rows are copied, outgoing columns are multiplied by such shares.

    Parents are drawn without replacement, so that numbers of copies differ by at most one (our choice: no neuron is
    cut into many small pieces). One map serves the whole residual stream; each layer draws its own for heads and MLP.

    `zero`: new residual dimensions, heads and neurons write zero, and the rows and columns that feed or read them are
    drawn from N(0, init_std^2). Gains and epsilon are rescaled as above; new gains are the mean gain (our choice:
    they multiply zeros at first). Exact as well.

    Everything is computed in float64 and cast back to each tensor's dtype. The function is preserved to the rounding of that
    dtype, so grow float32 master weights rather than bfloat16 copies.

    Args:
        state: weights of the base model, shapes as in `canonical_shapes(arch)`.
        arch: architecture of `state`.
        target: architecture to reach; `expanded_architecture` gives one with the right `norm_eps`.
        seed: seeds parents, shares and random readers. Every tensor has its own random stream, derived from seed and name;
            torch's global generator is neither read nor advanced.
        split: `random` draws the shares of every weight entry separately, uniformly on the simplex, which breaks
            the symmetry between copies; with `equal` (1/r each) copies stay equal.
        init: `duplicate` or `zero`.
        init_std: standard deviation of random readers, as in the base model's own initialisation. `zero` needs
            it; `duplicate` does not use it.

    Returns:
        Weights of `target`, on the CPU, sharing no memory with `state`.

    Raises:
        ValueError: `state` is not one of `arch`, `target` cannot be reached from `arch`, or an option does not
            apply; names the key and the fix.
    """
    _check_target(arch, target)
    check_state(state, arch)
    grow: _Duplication | _ZeroPadding
    if init == "duplicate":
        if split not in ("random", "equal"):
            raise ValueError(f"split: {split!r} must be 'random' or 'equal'")
        grow = _Duplication(arch, target, seed, split)
    elif init == "zero":
        if split != "random":
            raise ValueError(
                f"split: {split!r} does not apply to init 'zero', which copies nothing; leave it out"
            )
        if init_std is None or not init_std > 0:
            raise ValueError(
                f"init_std: {init_std!r} must be positive for init 'zero', whose new readers are random"
            )
        grow = _ZeroPadding(target, seed, init_std)
    else:
        raise ValueError(f"init: {init!r} must be 'duplicate' or 'zero'")

    grown = {}
    for name, axes in canonical_axes(arch.n_layer).items():
        weight = state[name].detach().to("cpu", torch.float64)
        if axes == ("residual",):
            wide = grow.gain(weight) * math.sqrt(arch.d_model / target.d_model)
        elif name == EMBEDDING:
            wide = grow.embedding(weight)
        elif axes[0] == "residual":
            wide = grow.writer(name, weight)
        else:
            wide = grow.reader(name, weight)
        grown[name] = wide.to(state[name].dtype).contiguous()
    return grown


@dataclass(frozen=True)
class _Parents:
    """For every entry of a widened axis its parent (long), and how many copies that parent has (float64): [n']."""

    index: torch.Tensor
    copies: torch.Tensor

    @classmethod
    def draw(cls, n: int, n_wide: int, generator: torch.Generator) -> _Parents:
        """Keep the first `n` entries in place and append parents without replacement, round after round."""
        rounds = [torch.arange(n)]
        while n * len(rounds) < n_wide:
            rounds.append(torch.randperm(n, generator=generator))
        index = torch.cat(rounds)[:n_wide]
        return cls(index, torch.bincount(index)[index].to(torch.float64))

    def in_blocks_of(self, width: int) -> _Parents:
        """Return the same map for entries that come in blocks, as a head's dimensions do."""
        index = self.index[:, None] * width + torch.arange(width)
        return _Parents(index.flatten(), self.copies.repeat_interleave(width))


class _Duplication:
    """Copies of existing neurons: incoming weights are copied, outgoing ones are split."""

    def __init__(self, arch: Architecture, target: Architecture, seed: int, split: str) -> None:
        self.arch, self.target, self.seed, self.split = arch, target, seed, split
        self.residual = _Parents.draw(arch.d_model, target.d_model, _generator(seed, "parents of residual"))

    def gain(self, weight: torch.Tensor) -> torch.Tensor:
        return weight[self.residual.index]

    def embedding(self, weight: torch.Tensor) -> torch.Tensor:
        return weight[:, self.residual.index] / self.residual.copies.sqrt()

    def reader(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        rows = self._parents(name, axis=0)
        wide = weight[rows.index][:, self.residual.index] * self.residual.copies.sqrt()
        return wide * self._shares(name, len(wide), self.residual)

    def writer(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        columns = self._parents(name, axis=1)
        wide = weight[self.residual.index][:, columns.index] / self.residual.copies.sqrt()[:, None]
        return wide * self._shares(name, len(wide), columns)

    def _parents(self, name: str, axis: int) -> _Parents:
        """Return the map of the axis of tensor `name` that is not the residual stream."""
        kind = canonical_axes(self.arch.n_layer)[name][axis]
        if kind == "vocabulary":
            return _Parents.draw(self.arch.vocab_size, self.target.vocab_size, _generator(self.seed, kind))
        layer, _ = parse_name(name)
        generator = _generator(self.seed, f"parents of {kind} in layer {layer}")
        if kind == "neurons":
            return _Parents.draw(self.arch.d_mlp, self.target.d_mlp, generator)
        heads = _Parents.draw(self.arch.n_head, self.target.n_head, generator)
        return heads.in_blocks_of(self.arch.head_dim)

    def _shares(self, name: str, n_rows: int, parents: _Parents) -> torch.Tensor:
        """Return [n_rows, n']: in every row, shares of the copies of one parent that sum to 1."""
        if self.split == "equal":
            return (1 / parents.copies).expand(n_rows, -1)
        # Normalised exponential variates are uniform on the simplex. Columns first: sums then run along memory.
        uniform = torch.rand(
            (len(parents.index), n_rows),
            generator=_generator(self.seed, f"shares in {name}"),
            dtype=torch.float64,
        )
        exponential = torch.log1p(-uniform).neg_().clamp_min_(1e-300)  # never 0 / 0
        total = torch.zeros_like(exponential).index_add_(0, parents.index, exponential)
        return exponential.div_(total[parents.index]).T


class _ZeroPadding:
    """New neurons that initially add zero to the residual stream; the weights that feed or read them are random."""

    def __init__(self, target: Architecture, seed: int, init_std: float) -> None:
        self.shapes, self.seed, self.init_std = canonical_shapes(target), seed, init_std
        self.d_model = target.d_model

    def gain(self, weight: torch.Tensor) -> torch.Tensor:
        return torch.cat([weight, weight.mean().expand(self.d_model - len(weight))])

    def embedding(self, weight: torch.Tensor) -> torch.Tensor:
        return self.writer(EMBEDDING, weight)

    def writer(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        wide = torch.zeros(self.shapes[name], dtype=torch.float64)
        wide[: weight.shape[0], : weight.shape[1]] = weight
        return wide

    def reader(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        generator = _generator(self.seed, f"readers in {name}")
        wide = self.init_std * torch.randn(self.shapes[name], generator=generator, dtype=torch.float64)
        wide[: weight.shape[0], : weight.shape[1]] = weight
        return wide


def _generator(seed: int, stream: str) -> torch.Generator:
    """Return a CPU generator for (seed, stream): each stream is independent of the order of the draws."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:4], "big"))  # mt19937 takes 32 bits


def _check_target(arch: Architecture, target: Architecture) -> None:
    fixes = {
        "head_dim": "rotary positions depend on it, so add heads instead",
        "n_layer": "width expansion keeps the depth, so use stack_depth to add layers",
        "vocab_size": "width expansion keeps the tokenizer",
        "context": "width expansion keeps the context",
        "rope_base": "width expansion keeps the rotary frequencies",
    }
    for key, fix in fixes.items():
        old, new = getattr(arch, key), getattr(target, key)
        if new != old:
            raise ValueError(f"{key}: the target has {new}, the base model {old}; {fix}")
    for key in ("d_model", "n_head", "d_mlp"):
        old, new = getattr(arch, key), getattr(target, key)
        if new < old:
            raise ValueError(
                f"{key}: the target's {new} is smaller than the base model's {old}; give at least {old}"
            )
    norm_eps = rescaled_norm_eps(arch, target.d_model)
    if not math.isclose(target.norm_eps, norm_eps, rel_tol=1e-9):
        raise ValueError(
            f"norm_eps: the target has {target.norm_eps}, but only {norm_eps} (norm_eps d / d') preserves the "
            "function; take the target from expanded_architecture, which sets it"
        )
