"""Width expansion, with Hugging Face's LLaMA on the canonical weights as an independent reference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from drawn_weights import llama, random_state
from growth_models import (
    PAPER_WIDTHS,
    assert_no_shared_memory,
    logits,
    random_batches,
    relative_error,
    tiny,
    train,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_sizes import SIZES, paper_size

from twostage.common.canonical import StateDict, canonical_shapes, check_state
from twostage.methods.expand import expanded_architecture
from twostage.methods.expand_weights import expand_width

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}  # of max |logit|


# ------------------------------------------------------------------------------------------------ the reference


def test_float64_oracle_is_hugging_faces_model() -> None:
    """The float64 model (another norm module and attention backend) equals the original to float32 rounding."""
    arch = tiny(n_head=3, d_model=44)
    state = random_state(arch)
    as_float32 = {name: tensor.float() for name, tensor in state.items()}
    assert relative_error(logits(as_float32, arch).double(), logits(state, arch)) < 1e-5


# ------------------------------------------------------------------------------------------------ function preservation


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("index", range(len(SIZES)), ids=SIZES)
def test_expansion_preserves_the_function_at_the_papers_widths(index: int, dtype: torch.dtype) -> None:
    base = paper_size(index, n_layer=2, vocab_size=32, context=12)
    wide = expanded_architecture(base)
    assert (wide.d_model, wide.n_head, wide.d_mlp) == PAPER_WIDTHS[index]
    state = random_state(base, dtype=dtype)
    grown = expand_width(state, base, wide, seed=3)
    assert relative_error(logits(grown, wide), logits(state, base)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(
    "options",
    [{}, {"split": "equal"}, {"init": "zero", "init_std": 0.02}],
    ids=["random", "equal", "zero"],
)
def test_every_variant_preserves_the_function_of_a_trained_model(options: dict, dtype: torch.dtype) -> None:
    """A model that has learned a rule (next token = 3 token + 1) keeps its predictions."""
    base = tiny()

    def batches() -> Iterator[torch.Tensor]:
        for step in range(80):
            tokens = [torch.randint(61, (16,), generator=torch.Generator().manual_seed(step))]
            while len(tokens) < base.context:
                tokens.append((3 * tokens[-1] + 1) % 61)
            yield torch.stack(tokens, dim=1)

    trained = train(random_state(base), base, batches(), lr=1e-2)
    last = next(batches())
    with torch.no_grad():
        loss = llama(trained, base)(last, labels=last).loss
    assert loss < 1.5, "the premise: it has learned (log 61 = 4.1)"
    trained = {name: tensor.to(dtype) for name, tensor in trained.items()}
    wide = expanded_architecture(base)
    grown = expand_width(trained, base, wide, seed=5, **options)
    assert relative_error(logits(grown, wide), logits(trained, base)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("options", [{}, {"init": "zero", "init_std": 0.02}], ids=["duplicate", "zero"])
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_expansion_preserves_the_function_for_any_target(options: dict, data: st.DataObject) -> None:
    """Any widths, each axis alone or together, up to five copies of a neuron."""
    base = tiny(
        n_layer=data.draw(st.integers(1, 2)),
        d_model=data.draw(st.integers(1, 7)),
        n_head=data.draw(st.integers(1, 3)),
        head_dim=2 * data.draw(st.integers(1, 3)),
        d_mlp=data.draw(st.integers(1, 9)),
        norm_eps=data.draw(st.sampled_from([1e-5, 1e-2])),
    )
    wide = expanded_architecture(
        base,
        **{
            key: data.draw(st.integers(getattr(base, key), 5 * getattr(base, key)))
            for key in ("d_model", "n_head", "d_mlp")
        },
    )
    state = random_state(base, seed=data.draw(st.integers(0, 9)))
    grown = expand_width(state, base, wide, seed=data.draw(st.integers(0, 9)), **options)
    check_state(grown, wide)
    assert relative_error(logits(grown, wide), logits(state, base)) <= TOLERANCE[torch.float64]


def test_more_than_two_copies_stay_exact_and_balanced() -> None:
    base = tiny(n_head=4, head_dim=8)
    wide = expanded_architecture(base, d_model=100, n_head=9, d_mlp=300)
    state = random_state(base)
    grown = expand_width(state, base, wide, seed=1)
    assert relative_error(logits(grown, wide), logits(state, base)) <= TOLERANCE[torch.float64]
    copies = torch.bincount(residual_parents(grown, state))
    assert set(copies.tolist()) == {3, 4}


def test_negative_controls_fail_the_tolerance() -> None:
    """Without the factor of epsilon or of one gain, the tests above fail in both precisions."""
    base = tiny()
    wide = expanded_architecture(base)
    state = random_state(base)
    expected = logits(state, base)
    grown = expand_width(state, base, wide, seed=3)
    assert relative_error(logits(grown, wide), expected) <= TOLERANCE[torch.float64]

    without_epsilon = relative_error(logits(grown, wide.with_shape(norm_eps=base.norm_eps)), expected)
    assert without_epsilon > 100 * TOLERANCE[torch.float32]
    factor = (wide.d_model / base.d_model) ** 0.5
    for name in [name for name in grown if "norm" in name]:
        without_gain = relative_error(logits({**grown, name: grown[name] * factor}, wide), expected)
        assert without_gain > 100 * TOLERANCE[torch.float32], name


# ------------------------------------------------------------------------------------------------ symmetry


def residual_parents(grown: StateDict, state: StateDict) -> torch.Tensor:
    """Return the original of every residual neuron of the grown model, found by the direction of its embedding."""
    return _matching_rows(grown["model.embed_tokens.weight"].T, state["model.embed_tokens.weight"].T)


def _matching_rows(wide: torch.Tensor, narrow: torch.Tensor) -> torch.Tensor:
    cosine = torch.nn.functional.normalize(wide) @ torch.nn.functional.normalize(narrow).T
    best = cosine.max(dim=1)
    assert (best.values > 1 - 1e-9).all()
    return best.indices


def incoming_weights(state: StateDict, parents: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return [n', k] per axis: the incoming weights of every residual neuron, MLP neuron and head dimension of layer 0.

    Weights that read copies of a residual neuron are summed, because their shares differ by construction.
    """
    copies = torch.bincount(parents).double()

    def folded(name: str) -> torch.Tensor:
        weight = state[f"model.layers.0.{name}.weight"] / copies[parents].sqrt()
        return torch.zeros(len(weight), len(copies), dtype=weight.dtype).index_add_(1, parents, weight)

    return {
        "residual": state["model.embed_tokens.weight"].T,
        "neurons": torch.cat([folded("mlp.gate_proj"), folded("mlp.up_proj")], dim=1),
        "heads": torch.cat([folded(f"self_attn.{kind}_proj") for kind in "qkv"], dim=1),
    }


def distance_of_copies(
    state: StateDict, residual: torch.Tensor, parents: dict[str, torch.Tensor]
) -> dict[str, float]:
    """Return the relative distance between the incoming weights of every copy and its original."""
    distances = {}
    for axis, weight in incoming_weights(state, residual).items():
        n = int(parents[axis].max()) + 1
        originals = weight[parents[axis][n:]]  # originals come first, then copies
        distances[axis] = (weight[n:] - originals).norm(dim=1) / originals.norm(dim=1)
    return distances


@pytest.mark.parametrize("split", ["random", "equal"])
def test_random_split_breaks_the_symmetry_between_copies(split: str) -> None:
    base = tiny()
    wide = expanded_architecture(base)
    state = random_state(base)
    grown = expand_width(state, base, wide, seed=7, split=split)
    residual = residual_parents(grown, state)
    before = incoming_weights(state, torch.arange(base.d_model))
    parents = {axis: _matching_rows(w, before[axis]) for axis, w in incoming_weights(grown, residual).items()}
    assert {axis: len(p) for axis, p in parents.items()} == {"residual": 44, "neurons": 184, "heads": 48}
    assert all((d < 1e-12).all() for d in distance_of_copies(grown, residual, parents).values()), (
        "equal at the start"
    )

    trained = train(grown, wide, random_batches(wide, 10))
    for axis, distance in distance_of_copies(trained, residual, parents).items():
        if split == "random":
            assert (distance > 1e-3).all(), axis
        else:
            assert (distance < 1e-9).all(), axis


def test_random_split_draws_every_entry_on_its_own() -> None:
    """With one share per column, copies would have proportional gradients and, under AdamW, equal updates."""
    base = tiny()
    wide = expanded_architecture(base)
    state = random_state(base)
    grown = expand_width(state, base, wide, seed=7)
    parents = residual_parents(grown, state)
    head, base_head = grown["lm_head.weight"], state["lm_head.weight"]
    copies = torch.bincount(parents)[parents]
    shares = head / base_head[:, parents] / copies.double().sqrt()
    copied = copies == 2
    assert (copied | (copies == 1)).all()
    assert (shares[:, ~copied] == 1).all()
    assert ((shares[:, copied] > 0) & (shares[:, copied] < 1)).all()
    assert (shares[:, copied].std(dim=0) > 0.1).all(), "differs from row to row"
    # shares of two copies are uniform on (0, 1): mean 1/2, variance 1/12
    assert shares[:, copied].mean() == pytest.approx(1 / 2, abs=1e-12)
    assert shares[:, copied].var() == pytest.approx(1 / 12, rel=0.1)


def test_zero_padding_adds_random_readers_that_can_learn() -> None:
    base = tiny()
    wide = expanded_architecture(base)
    state = random_state(base)
    grown = expand_width(state, base, wide, seed=7, init="zero", init_std=0.05)
    d, heads, neurons = 32, 32, 128
    assert (grown["model.embed_tokens.weight"][:, d:] == 0).all()
    for layer in range(2):
        attention, mlp = (f"model.layers.{layer}.{part}" for part in ("self_attn", "mlp"))
        for name, inner in ((f"{attention}.o_proj.weight", heads), (f"{mlp}.down_proj.weight", neurons)):
            assert (grown[name][d:] == 0).all()
            assert (grown[name][:, inner:] == 0).all()
            assert torch.equal(grown[name][:d, :inner], state[name])
        for name, rows in (
            *((f"{attention}.{kind}_proj.weight", heads) for kind in "qkv"),
            *((f"{mlp}.{kind}_proj.weight", neurons) for kind in ("gate", "up")),
        ):
            assert torch.equal(grown[name][:rows, :d], state[name])
            new = torch.cat([grown[name][rows:].flatten(), grown[name][:rows, d:].flatten()])
            assert new.std() == pytest.approx(0.05, rel=0.1)
    trained = train(grown, wide, random_batches(wide, 1))
    assert (trained["model.embed_tokens.weight"][:, d:].abs().amax(dim=0) > 1e-4).all()
    assert (trained["model.layers.0.self_attn.o_proj.weight"][:, heads:].abs().amax(dim=0) > 1e-4).all()
    assert (trained["model.layers.0.mlp.down_proj.weight"][:, neurons:].abs().amax(dim=0) > 1e-4).all()


# ------------------------------------------------------------------------------------------------ purity, seeds, dtypes


@pytest.mark.parametrize("options", [{}, {"init": "zero", "init_std": 0.02}], ids=["duplicate", "zero"])
def test_the_seed_alone_decides(options: dict) -> None:
    base = tiny()
    wide = expanded_architecture(base)
    state = random_state(base)
    copy = {name: tensor.clone() for name, tensor in state.items()}
    torch.manual_seed(1)
    global_state = torch.get_rng_state()
    first = expand_width(state, base, wide, seed=11, **options)
    assert torch.equal(torch.get_rng_state(), global_state), "the global generator does not move"
    assert all(torch.equal(state[name], copy[name]) for name in state), "the input does not change"
    torch.manual_seed(2)
    again = expand_width(dict(reversed(state.items())), base, wide, seed=11, **options)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = expand_width(state, base, wide, seed=12, **options)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


@pytest.mark.parametrize("split", ["random", "equal"])
def test_layers_have_separate_random_numbers(split: str) -> None:
    """Two equal layers differ after widening: in their parents (with `equal`, only in these) and in their shares."""
    base = tiny()
    state = random_state(base)
    gates = [f"model.layers.{layer}.mlp.gate_proj.weight" for layer in range(2)]
    state[gates[1]] = state[gates[0]].clone()
    grown = expand_width(state, base, expanded_architecture(base), seed=0, split=split)
    assert not torch.equal(grown[gates[0]][128:], grown[gates[1]][128:]), "new neurons"
    same_originals = torch.equal(grown[gates[0]][:128], grown[gates[1]][:128])
    assert same_originals == (split == "equal")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_expansion_keeps_dtypes_and_shares_no_memory(dtype: torch.dtype) -> None:
    base = tiny()
    state = random_state(base, dtype=dtype)
    # d_model is unchanged: tensors must be copied even where nothing grows
    wide = expanded_architecture(base, d_model=32, n_head=3, d_mlp=128)
    grown = expand_width(state, base, wide, seed=0)
    assert {name: (tuple(t.shape), t.dtype) for name, t in grown.items()} == {
        name: (shape, dtype) for name, shape in canonical_shapes(wide).items()
    }
    assert_no_shared_memory([*state.values(), *grown.values()])
    assert all(tensor.is_contiguous() for tensor in grown.values())


def test_expansion_to_the_same_widths_changes_nothing() -> None:
    base = tiny()
    state = random_state(base)
    grown = expand_width(state, base, base, seed=0)
    assert all(torch.equal(grown[name], state[name]) for name in state)
