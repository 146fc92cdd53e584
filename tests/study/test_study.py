"""Valid and invalid study files, and the error messages."""

from __future__ import annotations

import copy
import json
import math
import shutil
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError
from study_changes import put

from twostage.catalogue.schema import study_schema
from twostage.common.errors import UserError
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests/studies/tiny.yaml"


@pytest.fixture
def fields():
    return yaml.safe_load(TINY.read_text())


def load(fields, tmp_path, name="mine"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return load_study(path)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_studies_are_valid(path):
    assert load_study(path).name == path.stem


def test_schema_file_is_up_to_date():
    assert (ROOT / "config/study.schema.json").read_text() == study_schema(), "run `make schema`"


def test_schema_describes_every_optional_choice():
    schema = json.loads(study_schema())
    assert schema["additionalProperties"] is False
    assert "name" not in schema["properties"]
    assert schema["$defs"]["FilesCorpus"]["properties"]["text_key"]["description"]


def test_defaults_are_the_papers(fields, tmp_path):
    study = load(fields, tmp_path)
    recipe = study.recipe  # Table 4, and the text of B.3 for the decay
    assert (recipe.adam_beta1, recipe.adam_beta2, recipe.adam_eps) == (0.9, 0.95, 1e-8)
    assert (recipe.weight_decay, recipe.grad_clip, recipe.final_lr_fraction) == (0.1, 1.0, 0.1)
    assert study.laws.huber_delta == 1e-3
    assert study.models["33k"].effective_init_std == math.sqrt(2 / (5 * 32))
    assert study.architecture("33k").d_mlp == 4 * 32


def test_sections_are_frozen(fields, tmp_path):
    study = load(fields, tmp_path)
    with pytest.raises(ValidationError):
        study.recipe.weight_decay = 0.0


BAD = {
    "unknown key": (put("recipe", {"wieght_decay": 0.1}), ["recipe.wieght_decay", "unknown key", "did you mean 'weight_decay'"]),
    "missing key": (lambda f: f.pop("context"), ["context", "missing", "add this key"]),
    "heads do not divide": (put("models/33k/n_head", 3), ["models.33k", "n_head", "3", "d_model 32"]),
    "odd head_dim": (put("models/33k/head_dim", 15), ["models.33k", "head_dim", "15", "even"]),
    "unknown corpus": (put("stage1/corpus", "web"), ["stage1.corpus", "'web'", "['code', 'generic']"]),
    "unknown method corpus": (put("methods/cpt-code/corpus", "rust"), ["methods.cpt-code.corpus", "'rust'"]),
    "continue on the base corpus": (put("methods/cpt-code/corpus", "generic"), ["methods.cpt-code.corpus", "base corpus"]),
    "trunk not a multiple of ten": (put("grid/d1/trunk_steps", [100, 205]), ["grid.d1.trunk_steps", "205", "nearest: 200"]),
    "trunk not rising": (put("grid/d2/trunk_steps", [200, 100]), ["grid.d2.trunk_steps", "write [100, 200]"]),
    "D1 off the grid": (put("methods/stack/d1_steps", [300]), ["methods.stack.d1_steps", "300", "[100, 200, 400, 800]", "nearest"]),
    "extra point on the chain": (put("grid/d2/extra_steps", [100]), ["grid.d2", "[100]", "trunk_steps already"]),
    "warmup too long": (put("models/33k/warmup_steps", 200), ["models.33k.warmup_steps", "200", "100 steps"]),
    "reserved method": (put("methods/scratch", {"kind": "stack"}), ["methods.scratch", "reserved"]),
    "unknown model": (put("methods/stack/models", ["1B"]), ["methods.stack.models", "'1B'", "['33k']"]),
    "negative rate": (put("models/33k/peak_lr", -1), ["models.33k.peak_lr", "greater than 0", "-1"]),
    "replay too fine": (put("methods/cpt-code/replay", 0.12345), ["methods.cpt-code", "replay", "three decimals"]),
    "unknown kind": (put("methods/stack/kind", "distill"), ["methods.stack", "distill", "cpt, stack, expand"]),
    "vocabulary too small": (put("tokenizer/vocab_size", 200), ["tokenizer", "vocab_size", "258"]),
    "repeated seed": (put("seeds", [0, 0]), ["seeds", "repeats"]),
    "name with a slash": (put("models", {"a/b": {}}), ["models", "a/b"]),
    "named in the file": (put("name", "other"), ["name", "named after its file"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
def test_bad_study_names_file_key_value_and_fix(case, fields, tmp_path):
    spoil, words = BAD[case]
    load(copy.deepcopy(fields), tmp_path)  # valid without the change
    spoil(fields)
    with pytest.raises(UserError) as refusal:
        load(fields, tmp_path)
    assert str(refusal.value).startswith(str(tmp_path / "mine.yaml"))
    for word in words:
        assert word in str(refusal.value)


def test_missing_file_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(UserError, match=r"no such study file.*twostage new "):
        load_study(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", ["published", "reference", "toy-model"])
def test_reserved_study_names(name, tmp_path):
    shutil.copy(TINY, tmp_path / f"{name}.yaml")
    with pytest.raises(UserError, match="reserved"):
        load_study(tmp_path / f"{name}.yaml")


def test_repeated_yaml_key_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(TINY.read_text() + "\ncontext: 64\n")
    with pytest.raises(UserError, match="'context' appears twice"):
        load_study(path)


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words"])
def test_files_without_a_mapping_are_refused(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_study(path)


# A file that extends another ------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Write study files: name -> text; `base.yaml` is the tiny study."""
    shutil.copy(TINY, tmp_path / "base.yaml")

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def test_sections_are_replaced_and_null_removes_one(files, fields):
    folder = files(
        base=TINY.read_text() + "\nrecipe: {weight_decay: 0.2, grad_clip: 0.5}\nrepeats: [{seeds: [1]}]\n",
        mine="extends: base.yaml\nseeds: [3, 4]\nrecipe: {grad_clip: 2}\nrepeats: null\n",
    )
    base, mine = load_study(folder / "base.yaml"), load_study(folder / "mine.yaml")
    assert mine.name == "mine"
    assert mine.seeds == (3, 4)
    assert (mine.recipe.weight_decay, mine.recipe.grad_clip) == (
        0.1,
        2,
    )  # not 0.2, because the complete section is replaced
    assert mine.repeats == ()
    changed = {"name", "seeds", "recipe", "repeats"}
    assert mine.model_dump(exclude=changed) == base.model_dump(exclude=changed)


def test_several_levels_paths_count_from_each_file(files):
    folder = files(mine="extends: sub/middle.yaml\nseeds: [5]\n")
    (folder / "sub/deep").mkdir(parents=True)
    (folder / "sub/middle.yaml").write_text("extends: deep/low.yaml\nseeds: [4]\ncontext: 32\nlaws: null\n")
    (folder / "sub/deep/low.yaml").write_text(
        "extends: ../../base.yaml\nseeds: [3]\ncontext: 16\nlaws: {huber_delta: 0.1}\nrecipe: {grad_clip: 2}\n"
    )
    study = load_study(folder / "mine.yaml")
    assert (study.seeds, study.context, study.recipe.grad_clip) == ((5,), 32, 2)
    assert study.laws.huber_delta == 1e-3
    (folder / "link.yaml").symlink_to(folder / "sub/middle.yaml")  # relative to the file, not to the link
    assert load_study(folder / "link.yaml").seeds == (4,)


def test_the_extended_file_need_not_be_a_study_and_a_part_can_be_chosen(files):
    folder = files(
        base=TINY.read_text().replace("context:", "# context:", 1),
        mine="extends: base.yaml\ncontext: 64\nsubsets: {half: {description: one method only, methods: [stack]}}\n",
    )
    with pytest.raises(UserError, match="context: missing"):
        load_study(folder / "base.yaml")
    assert list(load_study(f"{folder}/mine.yaml:half").methods) == ["stack"]


EXTENDS_BAD = {
    "a part": ("extends: base.yaml:half", ["mine.yaml: extends", "'base.yaml:half'", "extends: base.yaml,"]),
    "no file name": ("extends: [base.yaml]", ["mine.yaml: extends", "['base.yaml']", "extends: other.yaml"]),
    "absent": ("extends: bas.yaml", ["mine.yaml: extends", "bas.yaml", "relative to"]),
    "a folder": ("extends: .", ["not readable"]),
    "itself": ("extends: mine.yaml", ["mine.yaml: extends", "cycle", "mine.yaml -> "]),
    "a circle": ("extends: round.yaml", ["round.yaml: extends", "mine.yaml -> ", "cycle", "remove one"]),
    "null of nothing": ("extends: base.yaml\nreicpe: null", ["mine.yaml: reicpe", "base.yaml", "remove the line"]),
    "named": ("extends: named.yaml", ["named.yaml: name"]),
    "repeated below": ("extends: twice.yaml", ["twice.yaml", "'seeds' appears twice"]),
    "own mistake": ("extends: base.yaml\ngrid: {d1: {trunk_steps: [5]}, d2: {trunk_steps: [100]}}",
                    ["mine.yaml (extends {folder}/base.yaml)", "{folder}/mine.yaml: grid.d1.trunk_steps: 5"]),
    "mistake below": ("extends: wrong.yaml\nseeds: [1]",
                      ["mine.yaml (extends {folder}/wrong.yaml, {folder}/base.yaml)",
                       "{folder}/wrong.yaml: recipe.wieght_decay: unknown key"]),
    "rule between sections": ("extends: base.yaml\nstage1: {corpus: web}",
                              ["{folder}/mine.yaml: stage1.corpus: 'web' is not one of"]),
    "index of a section": ("extends: base.yaml\nrepeats: [{seeds: [0]}]",
                           ["{folder}/mine.yaml: repeats[0].seeds: [0] are in"]),
    "required section removed": ("extends: base.yaml\ngrid: null", ["base.yaml)", "  grid: missing"]),
}  # fmt: skip


@pytest.mark.parametrize("case", EXTENDS_BAD)
def test_a_bad_extension_names_the_file_that_holds_the_key(case, files):
    text, words = EXTENDS_BAD[case]
    folder = files(
        mine="extends: base.yaml\n",
        round="extends: mine.yaml\n",
        named="name: other\n",
        twice="seeds: [1]\nseeds: [2]\n",
        wrong="extends: base.yaml\nrecipe: {wieght_decay: 1}\n",
    )
    load_study(folder / "mine.yaml")  # valid without the change
    (folder / "mine.yaml").write_text(text + "\n")
    with pytest.raises(UserError) as refusal:
        load_study(folder / "mine.yaml")
    for word in words:
        assert word.replace("{folder}", str(folder)) in str(refusal.value)


def test_the_schema_knows_files_that_extend():
    schema = json.loads(study_schema())
    valid = jsonschema.Draft202012Validator(schema).is_valid
    whole = yaml.safe_load(TINY.read_text())
    whole["models"]["33k"]["peak_lr"] = 8e-3  # PyYAML reads 8e-3 as text, editors as a number
    assert valid(whole)
    assert valid({"extends": "base.yaml"})
    assert valid({"extends": "base.yaml", "seeds": [1], "recipe": None, "grid": None})
    for bad in (
        {"seeds": [1]},
        {**whole, "recipe": None},
        {"extends": "base.yaml:half"},
        {"extends": None},
        {"extends": "base.yaml", "reicpe": None},
        {"extends": "base.yaml", "seeds": "one"},
    ):
        assert not valid(bad), bad
