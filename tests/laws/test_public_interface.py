"""`twostage.laws` as others use it: the example of its docstring, its names, and what importing it costs."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

import twostage.laws

HEAVY = {"torch", "snakemake", "pydantic", "matplotlib", "megatron", "datasets"}


def test_the_example_of_the_docstring_runs():
    result = doctest.testmod(twostage.laws)
    assert result.attempted >= 8
    assert result.failed == 0


def test_every_name_exists_and_is_explained():
    for name in twostage.laws.__all__:
        assert f"`{name}`" in twostage.laws.__doc__, name
        assert getattr(twostage.laws, name).__doc__, name
    assert set(twostage.laws.__all__) == set(dir(twostage.laws))
    with pytest.raises(AttributeError, match="no attribute 'fit_everything'"):
        twostage.laws.fit_everything  # noqa: B018


@pytest.mark.parametrize(("imported", "absent"), [(["FORMS"], {"numpy"}), (twostage.laws.__all__, set())])
def test_importing_is_light(imported: list[str], absent: set[str]):
    names = ", ".join(imported)
    code = "import sys, twostage.laws; print(*sys.modules); sys.stdout.flush()\n"
    code += f"from twostage.laws import {names}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, then = (set(line.split()) for line in done.stdout.splitlines())
    assert not (HEAVY | absent) & first
    assert not HEAVY & then
