"""Quantities such as `1.5M`: parsing is exact, and printed values can be parsed again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twostage.common.units import format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("300B", 3e11),
        ("300b", 3e11),
        ("300 B", 3e11),
        ("1.1e9", 1.1e9),
        ("10T", 1e13),
        ("2.31G", 2.31e9),
        ("44M", 4.4e7),
        ("15k", 1.5e4),
        (".5B", 5e8),
        ("1e3M", 1e9),
        ("98,323,840", 98_323_840),
        ("98_323_840", 98_323_840),
        (" 7 ", 7),
    ],
)
def test_parse(text: str, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["", "B", "3 0B", "300BB", "ten", "1.2.3", "nan", "inf", "0", "-5B", "1e400", "1,,0", "300KB"]
)
def test_bad_quantities_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--d1"):
        parse_quantity(text, name="--d1")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e11, "300B"),
        (1.1e9, "1.1B"),
        (98_323_840, "98.3M"),
        (999.9e9, "1T"),
        (11.92e12, "11.9T"),
        (7, "7"),
        (1e3, "1K"),
        (0, "0"),
        (1.887e20, "1.89e+20"),
        (-2e9, "-2B"),
        (math.inf, "inf"),
        (0.25, "0.25"),
    ],
)
def test_format(value: float, text: str) -> None:
    assert format_quantity(value) == text


def test_format_refuses_nan_and_no_digits() -> None:
    with pytest.raises(ValueError, match="NaN"):
        format_quantity(math.nan)
    with pytest.raises(ValueError, match="digits"):
        format_quantity(1.0, digits=0)


@given(st.floats(min_value=1.0, max_value=9e17), st.integers(min_value=1, max_value=9))
def test_printed_counts_read_back_to_their_digits(value: float, digits: int) -> None:
    read = parse_quantity(format_quantity(value, digits))
    assert read == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))
