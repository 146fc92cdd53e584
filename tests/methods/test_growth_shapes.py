"""Shapes of grown models: the paper's, a doubled N for ordinary widths, and targets that are not possible."""

from __future__ import annotations

import pytest
from growth_models import (
    PAPER_WIDTHS,
    tiny,
)
from hypothesis import given
from hypothesis import strategies as st
from paper_sizes import SIZES, paper_size

from twostage.methods.expand import expanded_architecture


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
