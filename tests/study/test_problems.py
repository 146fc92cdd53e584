"""Messages of invalid study files: they name the key and what to write, and never show a regular expression."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from twostage.common.errors import UserError
from twostage.study import load_study

TINY = yaml.safe_load((Path(__file__).parents[2] / "config/tiny.yaml").read_text())
METHOD = {"kind": "cpt", "corpus": "code"}


def study(folder, path: str, value) -> Path:
    """Write the tiny study with one value replaced; `path` has slashes."""
    fields = copy.deepcopy(TINY)
    *above, last = path.split("/")
    section = fields
    for name in above:
        section = section[name]
    section[last] = value
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return file


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seeds", 3, "seeds: must be a list; write [3]"),
        ("figures", "figure-1, figure-2", 'figures: must be a list; write [figure-1, figure-2]'),
        ("grid/d1/trunk_steps", 100, "grid.d1.trunk_steps: must be a list; write [100]"),
        ("corpora", {}, "corpora: must have at least 1 entry"),
        ("methods", ["stack"], "methods: must be a section of keys"),
        ("methods/x", {"knd": "cpt"}, "methods.x: kind: missing ('knd' is not a key); write kind: and one of cpt"),
        ("methods/x", {"kind": "cbt"}, "kind: 'cbt' is not one of cpt, stack, expand, measured; did you mean 'cpt'?"),
        ("methods/x", {"kind": "stack", "factr": 2}, "methods.x.factr: unknown key; did you mean 'factor'?"),
        ("corpora/x", {"paths": ["a.txt"]}, "corpora.x: source: missing; write source: and one of embedded, files"),
        ("tokeniser", {}, "tokeniser: unknown key; did you mean 'tokenizer'?"),
        ("methods/my method", METHOD, "'my method' cannot be a name: .* e.g. my-method"),
        ("methods/my_study", METHOD, "'my_study' cannot be a name: .* e.g. my-study"),
        ("methods/Bücher", METHOD, "'Bücher' cannot be a name: .* e.g. Bucher"),
        ("methods/x", {"kind": "cpt", "corpus": False}, "methods.x.corpus: must be text .* write it in quotes: 'no'"),
        ("methods/x", {"kind": "cpt", "corpus": 2024}, "methods.x.corpus: must be text .* write it in quotes: '2024'"),
        ("seeds", [-1], "seeds.0: must be greater than or equal to 0"),
        ("models/33k/batch_size", 8.5, "models.33k.batch_size: must be a valid integer"),
        ("models/33k/peak_lr", 8, "models.33k.peak_lr: 8 is unusual .* accept_unusual: .models.33k.peak_lr."),
        ("context", 1_000_000, "context: 1e+06 is unusual .* accept_unusual: .context."),
        ("accept_unusual", ["methods"], "accept_unusual: 'methods' has no usual range"),
    ],
)  # fmt: skip
def test_a_message_names_the_key_and_what_to_write(tmp_path, path, value, message):
    with pytest.raises(UserError) as error:
        load_study(study(tmp_path, path, value))
    text = str(error.value)
    assert "should" not in text
    assert "^[" not in text
    assert len(text.splitlines()) == 2, text
    first, *rest = message.split(" .* ")
    assert first.replace(".models.33k.peak_lr.", "[models.33k.peak_lr]") in text
    for part in rest:
        assert (
            part.replace(".models.33k.peak_lr.", "[models.33k.peak_lr]").replace(".context.", "[context]")
            in text
        )


@pytest.mark.parametrize(("name", "quoted"), [(False, "'no'"), (True, "'yes'"), (2024, "'2024'")])
def test_a_name_that_yaml_does_not_read_as_text_is_to_be_quoted(tmp_path, name, quoted):
    file = study(tmp_path, "seeds", [0])
    fields = yaml.safe_load(file.read_text())
    fields["corpora"][name] = fields["corpora"]["code"]
    file.write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=f"write it in quotes: {quoted}"):
        load_study(file)


def test_an_unusual_value_can_be_accepted(tmp_path):
    file = study(tmp_path, "context", 1_000_000)
    file.write_text(file.read_text() + "\naccept_unusual: [context]\n")
    assert load_study(file).context == 1_000_000


def test_an_empty_section_is_not_reported_beside_the_error_that_emptied_it(tmp_path):
    file = study(tmp_path, "methods", {"x": {"kind": "cpt", "corpus": "code", "bad": 1}})
    with pytest.raises(UserError) as error:
        load_study(file)
    assert "at least" not in str(error.value)
