"""Study files with random mistakes: they load, or one message explains them. No traceback reaches a user."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from twostage.common.errors import UserError
from twostage.study import load_study

TINY = yaml.safe_load((Path(__file__).parents[2] / "config/tiny.yaml").read_text())
# Examples of this size take minutes to shrink, and the message is enough.
SETTINGS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": (Phase.explicit, Phase.reuse, Phase.generate),
}
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from(
        ["", "generic", "code", "stack", "no", "1e400", "ü", "a/b", "../x", "x" * 100, "33k", "wsd"]
    )
    | st.dates()  # YAML reads 2024-01-01 as a date
    | st.text(max_size=8)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_SCALARS, inner, max_size=3),
    max_leaves=6,
)


def _places(fields: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every key and list entry."""
    items = (
        fields.items() if isinstance(fields, dict) else enumerate(fields) if isinstance(fields, list) else ()
    )
    found = []
    for key, value in items:
        found += [(*above, key), *_places(value, (*above, key))]
    return found


def _change(fields: Any, place: tuple[Any, ...], value: Any, *, rename: bool, remove: bool) -> None:
    *above, last = place
    for key in above:
        fields = fields[key]
    if remove:
        del fields[last]
    elif rename and isinstance(fields, dict) and not isinstance(value, (dict, list)):
        fields[value] = fields.pop(last)
    else:
        fields[last] = value


_CHANGES = st.tuples(st.sampled_from(_places(TINY)), _VALUES, st.booleans(), st.integers(0, 9))


def _message(file: Path) -> str:
    try:
        load_study(file)
    except UserError as error:
        return str(error)
    return ""


def _check(folder: Path, text: str) -> None:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    message = _message(file)
    assert not message or message.startswith(str(file))
    for internal in ("Traceback", "pydantic", "^[A", "should match pattern", "discriminator"):
        assert internal not in message


@pytest.mark.parametrize("examples", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_a_study_with_random_changes_loads_or_is_explained(examples, tmp_path):
    @settings(max_examples=examples, **SETTINGS)
    @given(st.lists(_CHANGES, min_size=1, max_size=3))
    def run(changes):
        fields = copy.deepcopy(TINY)
        for place, value, rename, chance in changes:
            try:
                _change(fields, place, copy.deepcopy(value), rename=rename, remove=chance == 0)
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change removed the place
        try:
            text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
        except (yaml.YAMLError, TypeError, UnicodeEncodeError):
            return
        _check(tmp_path, text)

    run()


@pytest.mark.parametrize("examples", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_a_file_of_random_text_loads_or_is_explained(examples, tmp_path):
    lines = (Path(__file__).parents[2] / "config/tiny.yaml").read_text().splitlines(keepends=True)
    odd = st.sampled_from(
        [
            "\t",
            ": ",
            "- ",
            "{",
            "]",
            "&a",
            "*a",
            "!!python/object:os.system x",
            "\0",
            "%",
            "'",
            '"',
            "|",
            "\n",
        ]
    )

    @settings(max_examples=examples, **SETTINGS)
    @given(st.lists(st.tuples(st.integers(0, len(lines) - 1), odd | st.text(max_size=4)), max_size=4))
    def run(insertions):
        changed = list(lines)
        for number, text in insertions:
            changed[number] = (
                changed[number][: len(changed[number]) // 2]
                + text
                + changed[number][len(changed[number]) // 2 :]
            )
        _check(tmp_path, "".join(changed))

    run()
