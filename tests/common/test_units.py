"""Quantities such as `1.5M`: parsing is exact, and printed values can be parsed again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twostage.common.units import decimal_marks, format_quantity, parse_quantity, read_count


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
        ("98 323 840", 98_323_840),
        ("1,250", 1250),
        (" 7 ", 7),
        ("400BT", 4e11),
        ("1.25B tokens", 1.25e9),
        ("1.25 billion tokens", 1.25e9),
        ("7B params", 7e9),
        ("300T", 3e14),
        ("300 tokens", 300),
    ],
)
def test_parse(text: str, value: float) -> None:
    assert parse_quantity(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "3 0B",
        "300BB",
        "ten",
        "1.2.3",
        "nan",
        "inf",
        "0",
        "-5B",
        "1e400",
        "1,,0",
        "300KB",
        "1_5B",
        "12,34,567",
        "1,5B",
        "0,500",
    ],
)
def test_bad_quantities_name_the_option(text: str) -> None:
    with pytest.raises(ValueError, match=r"--d1"):
        parse_quantity(text, name="--d1")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("1,5B", "write 1.5B"),
        ("0,5B", "write 0.5B"),
        ("1.250.000", "write 1250000"),
        ("1,250B", "1.250B or 1250B"),
    ],
)
def test_a_decimal_comma_is_never_dropped(text: str, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        parse_quantity(text)


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


@given(st.integers(0, 10**12), st.sampled_from(",_ "))
def test_groups_of_three_digits_are_read_with_every_separator(value: int, separator: str) -> None:
    assert read_count(f"{value:,}".replace(",", separator)) == value


@given(st.text("0123456789.,_ eE+-kMBTPtokens", max_size=12))
def test_any_text_is_a_number_or_not(text: str) -> None:
    """One reader for options, columns and conditions: what has one decimal mark has that value with it."""
    for mark in decimal_marks(text):
        assert read_count(text, mark) is not None
    if "," not in text and "_" not in text and " " not in text.strip():
        try:
            assert read_count(text) == float(text)
        except ValueError:  # a suffix or no number
            assert read_count(text) is None or text.strip()[-1].isalpha()


@given(st.floats(min_value=1.0, max_value=9e17), st.integers(min_value=1, max_value=9))
def test_printed_counts_read_back_to_their_digits(value: float, digits: int) -> None:
    read = parse_quantity(format_quantity(value, digits))
    assert read == pytest.approx(value, rel=0.5001 * 10 ** (1 - digits))
