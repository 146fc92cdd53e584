"""Growth operators; Hugging Face's LLaMA runs the canonical weights as the independent oracle."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from drawn_weights import llama, random_state, token_ids
from hypothesis import given, settings
from hypothesis import strategies as st
from test_architecture import TABLE_3

from twostage.architecture import Architecture
from twostage.canonical import canonical_shapes, check_state
from twostage.growth import StateDict, expand_width, expanded_architecture, stack_depth, stacked_architecture

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}  # of max |logit|

# d', h', f' of the six sizes of the paper (1.4 d, 1.5 h, 4 d' on multiples of 16), in the order of Table 3
PAPER_WIDTHS = [
    (448, 6, 1792),
    (672, 12, 2688),
    (896, 12, 3584),
    (1168, 12, 4656),
    (1568, 24, 6272),
    (2112, 24, 8416),
]
SIZES = [row[0] for row in TABLE_3]


def tiny(**changes: object) -> Architecture:
    arch = Architecture(n_layer=2, d_model=32, n_head=2, head_dim=16, d_mlp=128, vocab_size=61, context=16)
    return arch.with_shape(**changes)


def paper_size(index: int, **changes: object) -> Architecture:
    _, n_layer, d_model, n_head, _ = TABLE_3[index]
    arch = Architecture(
        n_layer=n_layer,
        d_model=d_model,
        n_head=n_head,
        head_dim=d_model // n_head,
        d_mlp=4 * d_model,
        vocab_size=32_000,
        context=1_024,
    )
    return arch.with_shape(**changes)


def logits(state: StateDict, arch: Architecture) -> torch.Tensor:
    with torch.no_grad():
        return llama(state, arch)(token_ids(arch)).logits


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def train(
    state: StateDict, arch: Architecture, batches: Iterator[torch.Tensor], *, lr: float = 1e-3
) -> StateDict:
    model = llama({name: tensor.clone() for name, tensor in state.items()}, arch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)
    for tokens in batches:
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def random_batches(arch: Architecture, n: int) -> Iterator[torch.Tensor]:
    return (token_ids(arch, batch=8, seed=100 + i) for i in range(n))


# ------------------------------------------------------------------------------------------------ the oracle itself


def test_float64_oracle_is_hugging_faces_model() -> None:
    """The float64 model (other norm module, other attention backend) equals the untouched one to float32 rounding."""
    arch = tiny(n_head=3, d_model=44)
    state = random_state(arch)
    as_float32 = {name: tensor.float() for name, tensor in state.items()}
    assert relative_error(logits(as_float32, arch).double(), logits(state, arch)) < 1e-5


# ------------------------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize("index", range(len(SIZES)), ids=SIZES)
def test_expanded_shapes_of_the_paper_double_n(index: int) -> None:
    base = paper_size(index)
    wide = expanded_architecture(base)
    assert (wide.d_model, wide.n_head, wide.d_mlp) == PAPER_WIDTHS[index]
    assert wide.n_params / base.n_params == pytest.approx(2, rel=0.01)
    assert wide.head_dim == base.head_dim
    assert wide.norm_eps == pytest.approx(base.norm_eps * base.d_model / wide.d_model, rel=1e-15)
    unchanged = {"n_layer", "head_dim", "vocab_size", "context", "rope_base"}
    assert {k: v for k, v in wide.to_json().items() if k in unchanged} == {
        k: v for k, v in base.to_json().items() if k in unchanged
    }


@pytest.mark.parametrize(
    ("d_model", "n_head", "expected"),
    [(16, 2, (22, 3, 92)), (32, 2, (44, 3, 184)), (64, 4, (88, 6, 368)), (128, 4, (176, 6, 736))],
)
def test_expanded_shapes_of_small_models(d_model: int, n_head: int, expected: tuple[int, int, int]) -> None:
    base = tiny(d_model=d_model, n_head=n_head, head_dim=d_model // n_head, d_mlp=4 * d_model)
    wide = expanded_architecture(base)
    assert (wide.d_model, wide.n_head, wide.d_mlp) == expected
    assert wide.n_params / base.n_params == pytest.approx(2, rel=0.01)


@given(
    eighths=st.integers(2, 256),
    n_head=st.sampled_from([1, 2, 4]),
    n_layer=st.integers(1, 40),
    mlp_ratio=st.sampled_from([2, 4]),
)
def test_expansion_doubles_n_for_every_ordinary_width(
    eighths: int, n_head: int, n_layer: int, mlp_ratio: int
) -> None:
    d_model = 8 * eighths
    base = tiny(
        n_layer=n_layer, d_model=d_model, n_head=n_head, head_dim=d_model // n_head, d_mlp=mlp_ratio * d_model
    )
    wide = expanded_architecture(base)
    assert wide.n_params / base.n_params == pytest.approx(2, rel=0.01)
    assert 1.3 <= wide.d_model / base.d_model <= 1.5
    assert wide.d_mlp >= base.d_mlp


def test_expansion_without_a_fitting_shape_returns_the_nearest() -> None:
    base = tiny(n_layer=1, d_model=2, n_head=1, head_dim=2, d_mlp=8)
    wide = expanded_architecture(base)
    ratio = wide.n_params / base.n_params
    assert abs(ratio / 2 - 1) > 0.01, "the premise: nothing fits here"
    neighbours = [wide.with_shape(d_mlp=wide.d_mlp + step) for step in (-1, 1)]
    assert all(abs(other.n_params / base.n_params - 2) > abs(ratio - 2) for other in neighbours)


def test_expansion_keeps_widths_that_the_study_names() -> None:
    base = tiny(d_model=64, n_head=4, d_mlp=256)
    named = expanded_architecture(base, d_model=72, n_head=5, d_mlp=300)
    assert (named.d_model, named.n_head, named.d_mlp) == (72, 5, 300)
    assert named.norm_eps == pytest.approx(base.norm_eps * 64 / 72)
    partly = expanded_architecture(base, d_model=96)
    assert partly.d_model == 96
    assert partly.n_params / base.n_params == pytest.approx(2, rel=0.01), "d_mlp makes up for it"
    heads = expanded_architecture(base, n_head=4)
    assert heads.n_head == 4
    assert heads.n_params / base.n_params == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("key", ["d_model", "n_head", "d_mlp"])
def test_expansion_refuses_to_shrink(key: str) -> None:
    base = tiny()
    smaller = getattr(base, key) - 1
    with pytest.raises(ValueError, match=rf"^{key}: {smaller} is smaller .* give at least {smaller + 1}"):
        expanded_architecture(base, **{key: smaller})


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
    """Leaving out the factor of epsilon or of one gain is seen by the tests above, in either precision."""
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
    """For every residual neuron of the grown model the one it stems from, read off its embedding's direction."""
    return _matching_rows(grown["model.embed_tokens.weight"].T, state["model.embed_tokens.weight"].T)


def _matching_rows(wide: torch.Tensor, narrow: torch.Tensor) -> torch.Tensor:
    cosine = torch.nn.functional.normalize(wide) @ torch.nn.functional.normalize(narrow).T
    best = cosine.max(dim=1)
    assert (best.values > 1 - 1e-9).all()
    return best.indices


def incoming_weights(state: StateDict, parents: torch.Tensor) -> dict[str, torch.Tensor]:
    """[n', k] per axis: what every residual neuron, MLP neuron and head dimension of layer 0 reads.

    Readers of copied residual neurons are folded back onto the parents: their shares differ by construction.
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
    """Relative distance between the incoming weights of every copy and its original."""
    distances = {}
    for axis, weight in incoming_weights(state, residual).items():
        n = int(parents[axis].max()) + 1
        originals = weight[parents[axis][n:]]  # originals keep their places, copies follow
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
    """One share per column would give copies proportional gradients, which AdamW turns into equal updates."""
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
def test_layers_have_streams_of_their_own(split: str) -> None:
    """Two equal layers differ once widened: in their parents (all that `equal` leaves) and in their shares."""
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
    # d_model unchanged: no tensor may be handed through even where nothing is copied
    wide = expanded_architecture(base, d_model=32, n_head=3, d_mlp=128)
    grown = expand_width(state, base, wide, seed=0)
    assert {name: (tuple(t.shape), t.dtype) for name, t in grown.items()} == {
        name: (shape, dtype) for name, shape in canonical_shapes(wide).items()
    }
    assert_no_shared_memory([*state.values(), *grown.values()])
    assert all(tensor.is_contiguous() for tensor in grown.values())


def assert_no_shared_memory(tensors: list[torch.Tensor]) -> None:
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == len(tensors)


def test_expansion_to_the_same_widths_changes_nothing() -> None:
    base = tiny()
    state = random_state(base)
    grown = expand_width(state, base, base, seed=0)
    assert all(torch.equal(grown[name], state[name]) for name in state)


# ------------------------------------------------------------------------------------------------ stacking


def test_stacked_architecture_multiplies_the_layers() -> None:
    base = paper_size(2)
    stacked = stacked_architecture(base, 2)
    assert stacked == base.with_shape(n_layer=30)
    # all but the final norm is in the layers
    assert stacked.n_params == 2 * base.n_params - base.d_model


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_stacking_repeats_the_layers_in_order(factor: int) -> None:
    base = tiny(n_layer=3)
    state = random_state(base)
    stacked = stack_depth(state, factor)
    check_state(stacked, stacked_architecture(base, factor))
    for layer in range(3 * factor):
        for name in state:
            if name.startswith(f"model.layers.{layer % 3}."):
                stem = name.removeprefix(f"model.layers.{layer % 3}.")
                assert torch.equal(stacked[f"model.layers.{layer}.{stem}"], state[name])
    for name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        assert torch.equal(stacked[name], state[name])
    assert_no_shared_memory([*state.values(), *stacked.values()])


def test_stacked_model_applies_the_base_layers_twice() -> None:
    """M' = M o M: Hugging Face's base model with its own layers run twice over gives the same logits, bit for bit."""
    base = tiny()
    state = random_state(base)
    model = llama(state, base)
    model.model.layers = torch.nn.ModuleList([*model.model.layers, *model.model.layers])
    model.config.num_hidden_layers = 4
    with torch.no_grad():
        twice = model(token_ids(base)).logits
    assert torch.equal(logits(stack_depth(state, 2), stacked_architecture(base, 2)), twice)
    assert relative_error(twice, logits(state, base)) > 1e-3, "stacking does not preserve the function"


def test_layer_numbers_are_parsed_not_sorted_as_text() -> None:
    base = tiny(n_layer=11, d_model=2, n_head=1, head_dim=2, d_mlp=2)
    state = random_state(base)
    stacked = stack_depth(dict(sorted(state.items())), 2)
    for layer in (1, 2, 10):
        for copy in (layer, layer + 11):
            name = "model.layers.{}.mlp.up_proj.weight"
            assert torch.equal(stacked[name.format(copy)], state[name.format(layer)])


def test_stacking_carries_adam_moments_over() -> None:
    """Stacking weights and moments, then a step, equals a step, then stacking (equal gradients for the copies)."""
    base = tiny()
    model = llama(random_state(base), base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for tokens in random_batches(base, 3):
        optimizer.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        optimizer.step()
    parameters = dict(model.named_parameters())
    weights = {name: p.detach().clone() for name, p in parameters.items()}
    moments = {
        key: {name: optimizer.state[p][key].clone() for name, p in parameters.items()}
        for key in ("step", "exp_avg", "exp_avg_sq")
    }
    gradients = {name: p.grad.clone() for name, p in parameters.items()}
    optimizer.step()

    deep = llama(stack_depth(weights, 2), stacked_architecture(base, 2))
    deep_optimizer = torch.optim.AdamW(deep.parameters(), lr=1e-3)
    stacked_moments = {key: stack_depth(values, 2) for key, values in moments.items()}
    stacked_gradients = stack_depth(gradients, 2)
    for name, parameter in deep.named_parameters():
        deep_optimizer.state[parameter] = {key: values[name] for key, values in stacked_moments.items()}
        parameter.grad = stacked_gradients[name]
    deep_optimizer.step()

    expected = stack_depth({name: p.detach() for name, p in parameters.items()}, 2)
    for name, parameter in deep.named_parameters():
        assert torch.equal(parameter.detach(), expected[name]), name
    moved = expected["model.layers.3.mlp.up_proj.weight"] - weights["model.layers.1.mlp.up_proj.weight"]
    assert moved.abs().max() > 1e-4, "the step did something"


# ------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("factor", [0, -2, 1.5, True])
def test_bad_factors_are_refused(factor: object) -> None:
    with pytest.raises(ValueError, match=r"^factor: .* must be a positive integer"):
        stack_depth(random_state(tiny()), factor)
    with pytest.raises(ValueError, match=r"^factor: .* must be a positive integer"):
        stacked_architecture(tiny(), factor)


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"],
)
def test_missing_keys_are_named(name: str) -> None:
    base = tiny()
    state = random_state(base)
    del state[name]
    for grow in (lambda: stack_depth(state, 2), lambda: expand_width(state, base, base, seed=0)):
        with pytest.raises(ValueError, match=f"^{re.escape(name)}: missing"):
            grow()


def test_a_missing_layer_is_named() -> None:
    state = {n: t for n, t in random_state(tiny(n_layer=3)).items() if not n.startswith("model.layers.1.")}
    with pytest.raises(ValueError, match=r"^model\.layers\.1\.input_layernorm\.weight: missing .*9 missing"):
        stack_depth(state, 2)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.01.mlp.up_proj.weight",
        "decoder.final_layernorm.weight",
    ],
)
def test_unknown_keys_are_named(name: str) -> None:
    base = tiny()
    state = {**random_state(base), name: torch.zeros(2)}
    for grow in (lambda: stack_depth(state, 2), lambda: expand_width(state, base, base, seed=0)):
        with pytest.raises(ValueError, match=rf"^{re.escape(name)}: (not a weight|missing)"):
            grow()


def test_a_deeper_state_than_the_architecture_is_refused() -> None:
    base = tiny()
    with pytest.raises(
        ValueError,
        match=r"^model\.layers\.2\.input_layernorm\.weight: not a weight of a model with n_layer 2",
    ):
        expand_width(stack_depth(random_state(base), 2), base, base, seed=0)


def test_wrong_shapes_and_types_are_named() -> None:
    base = tiny()
    name = "model.layers.1.self_attn.o_proj.weight"
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: shape \[32, 31\] where .* \[32, 32\]"):
        expand_width({**random_state(base), name: torch.zeros(32, 31)}, base, base, seed=0)
    with pytest.raises(
        ValueError, match=rf"^{re.escape(name)}: shape \[32, 31\] differs from layer 0's \[32, 32\]"
    ):
        stack_depth({**random_state(base), name: torch.zeros(32, 31)}, 2)
    with pytest.raises(ValueError, match=rf"^{re.escape(name)}: torch.int8 is not a floating-point type"):
        expand_width({**random_state(base), name: torch.zeros(32, 32, dtype=torch.int8)}, base, base, seed=0)


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("head_dim", 18, "add heads instead"),
        ("n_layer", 4, "use stack_depth"),
        ("vocab_size", 62, "keeps the tokenizer"),
        ("context", 32, "keeps the context"),
        ("rope_base", 500_000, "keeps the rotary frequencies"),
        ("n_head", 1, "give at least 2"),
        ("d_mlp", 127, "give at least 128"),
        ("norm_eps", 1e-5, "expanded_architecture, which sets it"),
    ],
)
def test_targets_that_cannot_be_reached_are_refused(key: str, value: float, fix: str) -> None:
    base = tiny()
    target = expanded_architecture(base).with_shape(**{key: value})
    with pytest.raises(ValueError, match=rf"^{key}: .*{fix}"):
        expand_width(random_state(base), base, target, seed=0)


def test_a_narrower_target_is_refused() -> None:
    base = tiny()
    with pytest.raises(ValueError, match=r"^d_model: .* give at least 32"):
        expand_width(random_state(base), base, base.with_shape(d_model=31), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "half"}, "^split: 'half' must be"),
        ({"init": "random"}, "^init: 'random' must be"),
        ({"init": "zero"}, "^init_std: None must be positive"),
        ({"init": "zero", "init_std": 0.0}, "^init_std: 0.0 must be positive"),
        ({"init": "zero", "init_std": 0.02, "split": "equal"}, "^split: 'equal' does not apply"),
    ],
)
def test_bad_options_are_refused(options: dict, message: str) -> None:
    base = tiny()
    with pytest.raises(ValueError, match=message):
        expand_width(random_state(base), base, expanded_architecture(base), seed=0, **options)
