"""The published numbers as printed, and what they do and do not reproduce (facts computed apart from this code)."""

from pathlib import Path

import numpy as np
import pytest

from twostage.laws.crossover import Law
from twostage.paper.published import (
    Printed,
    maximum_tokens,
    published_exponents,
    published_joint_laws,
    published_number,
    published_numbers,
    published_table,
)


@pytest.mark.parametrize(
    ("text", "value", "half_width"),
    [
        ("0.105", 0.105, 5e-4),
        ("10.383", 10.383, 5e-4),
        ("8e-3", 8e-3, 5e-4),
        ("14,751,680", 14_751_680, 0.5),
        ("9.990", 9.99, 5e-4),  # the trailing zero is a digit
        ("-0.04", -0.04, 5e-3),
    ],
)
def test_a_printed_number_knows_its_last_digit(text: str, value: float, half_width: float) -> None:
    number = Printed.read(text)
    assert number.value == pytest.approx(value, rel=1e-15)
    assert number.half_width == pytest.approx(half_width, rel=1e-12)


@pytest.mark.parametrize("text", ["", "-", "0.1B", "nan", "1.2.3"])
def test_what_is_not_a_number_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ValueError, match="Table 6"):
        Printed.read(text, where="Table 6")


def test_leave_one_out_tables_as_printed() -> None:
    table = published_table(1)
    assert list(table.index) == ["CPT (code)", "CPT (math)", "Expand", "Stack"]
    assert table.loc["Stack", ["rms_mul", "rms_mul0", "rms_add", "rms_hyb"]].tolist() == [
        "2.845",
        "7.818",
        "10.323",
        "7.748",
    ]
    assert table.loc["CPT (code)", "rms_mul"] == "1.573"
    both = [published_table(1), published_table(2)]
    for frame in both:
        printed = frame[["rms_mul", "rms_mul0", "rms_add", "rms_hyb"]].astype(float)
        assert (printed.idxmin(axis=1) == "rms_mul").all()  # the paper's finding, in all eight rows
    assert published_table(2).loc["Stack (stable)", "rms_hyb"] == "8.822"


def test_hybrid_rows_above_mul0_cannot_be_in_sample_optima() -> None:
    """Fact 9: hyb contains mul0 (F = 0). Leave-one-out may still be worse, so this is a remark, not an error."""
    rows = [published_table(number).loc[:, ["rms_mul0", "rms_hyb"]].astype(float) for number in (1, 2)]
    worse = sum(int((frame["rms_hyb"] > frame["rms_mul0"]).sum()) for frame in rows)
    assert worse == 7  # of 8; only `Stack` is better


def test_models_and_tokens() -> None:
    models = published_table(3)
    assert models["n_parameters"].astype(int).tolist() == [
        14_751_680,
        44_248_800,
        98_323_840,
        232_623_040,
        521_889_760,
        1_085_859_424,
    ]
    # "n_layer/d_model in the range 32 to 64" means d_model / n_layer (fact 7).
    ratio = models["d_model"].astype(float) / models["n_layer"].astype(float)
    assert ratio.min() > 32
    assert ratio.max() < 64
    assert (maximum_tokens() / 1e9).round(2).tolist() == [2.31, 4.61, 9.23, 18.45, 36.91, 73.82]  # fact 8


def test_table_3_counts_are_llama_without_embeddings() -> None:
    """N of Table 3 from its own shapes: 4 d^2 attention + 3 d (4 d) SwiGLU + 2 norms a layer, and a final norm."""
    models = published_table(3)
    for name, row in models.iterrows():
        d, layers = int(row["d_model"]), int(row["n_layer"])
        assert layers * (16 * d * d + 2 * d) + d == int(row["n_parameters"]), name


def test_table_8_changes_letters_for_our_chinchilla() -> None:
    laws = published_joint_laws()
    base = laws["Base (Slimpajama)"]
    # The paper: A D^-alpha + B N^-beta + E; ours: A N^-alpha + B D^-beta + E.
    d, n = 3e10, 4e8
    assert float(base.law.loss(d, n=n)) == pytest.approx(
        10.383 * d**-0.092 + 10.085 * n**-0.105 + 0.041, rel=1e-14
    )
    code = laws["From-scratch (code)"].law
    assert float(code.loss(d, n=n)) == pytest.approx(
        8.143 * d**-0.113 + 27.286 * n**-0.234 + 0.105, rel=1e-14
    )
    stack = laws["Stack"]
    assert stack.values["alpha3"] == 0.003
    assert stack.printed["alpha3"].half_width == pytest.approx(5e-4)
    by_hand = 33.394 * 1e9**-0.087 * d ** (-0.119 + 0.003 * np.log(1e9)) + 22.471 * n**-0.173 + 0.041
    assert float(stack.law.loss(d, d1=1e9, n=n)) == pytest.approx(by_hand, rel=1e-13)


def test_rounding_box_stays_in_the_box_and_is_seeded() -> None:
    stack = published_joint_laws()["Stack"]
    law = stack.rounding_box(1000, np.random.default_rng(3))
    again = stack.rounding_box(1000, np.random.default_rng(3))
    assert isinstance(law, Law)
    for name, centre in stack.values.items():
        draws = np.asarray(law.coefficients[name])
        assert draws.shape == (1000, 1)
        assert np.all(np.abs(draws - centre) <= stack.printed[name].half_width)
        assert np.ptp(draws) > 1.8 * stack.printed[name].half_width
        assert np.array_equal(draws, again.coefficients[name])


def test_table_7_has_no_law() -> None:
    exponents = published_exponents()
    assert exponents["CPT (math)"].values == {"alpha1": 0.981, "alpha2": 0.388, "alpha3": 0.017}
    assert all(row.values["alpha3"] > 0 for row in exponents.values())
    with pytest.raises(ValueError, match="A, E not printed"):
        _ = exponents["Stack"].law


def test_numbers_of_the_text_have_their_places() -> None:
    numbers = published_numbers()
    assert numbers.index.is_unique
    assert numbers["source"].str.startswith("arXiv 2510.06548v1 ").all()
    assert numbers["quote"].str.len().min() > 20
    assert published_number("d_star_100b") == 1.3e13
    assert published_number("d_star_slope") == -0.6
    assert published_number("d_star_curvature") == -0.04
    assert published_number("cpt_code_crossover") == 3e11
    assert published_number("rms_merged_cpt_code") == 0.0213
    assert published_number("rms_merged_cpt_math") == 0.0235
    with pytest.raises(KeyError, match="d_star_100b"):
        published_number("d_star")


def test_a_missing_folder_or_table_is_explained(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="results/published"):
        published_table(1, tmp_path)
    with pytest.raises(ValueError, match="Tables 1 to 8"):
        published_table(9)
