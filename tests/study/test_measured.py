"""Studies of methods that were measured elsewhere: what the file needs, and what follows from the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from results_tree import make_design

from twostage.analysis.imported import import_table
from twostage.catalogue.lookup import drawable_figures, drawable_tables, load_checked, not_drawn
from twostage.catalogue.shown_methods import fitted_pairs, shown_pairs
from twostage.common.errors import UserError
from twostage.design.design import Design
from twostage.planning.jobs import Jobs, planned_jobs
from twostage.study import load_study

MEASURED = {"kind": "measured", "label": "Elsewhere", "growth": True}
TABLE = """method,model,seed,d1_tokens,d2_tokens,valid_corpus,n_base,n_final,loss_nats,rate
grow,small,0,1e9,1e9,text,1e7,2e7,3.5,1
grow,small,0,1e9,2e9,text,1e7,2e7,3.4,1
grow,small,0,2e9,1e9,text,1e7,2e7,3.4,1
grow,small,0,2e9,2e9,text,1e7,2e7,3.3,1
grow,large,0,4e9,1e9,text,9e7,2e8,3.0,1
grow,large,0,4e9,2e9,text,9e7,2e8,2.9,1
grow,large,0,4e9,2e9,text,9e7,2e8,2.8,0.5
"""


def write(folder: Path, **changes: object) -> Path:
    (folder / "cells.csv").write_text(TABLE)
    fields = {
        "description": "losses measured elsewhere",
        "cells_table": {"cells": str(folder / "cells.csv"), "where": ["rate=1"]},
        "methods": {"grow": MEASURED},
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in (fields | changes).items() if value}))
    return path


def test_the_file_needs_methods_and_a_table_only(tmp_path: Path) -> None:
    study = load_checked(write(tmp_path))
    assert study.models_of("grow") == ("small", "large")
    assert study.points_of("grow", "small") == ((1e9, 2e9), (1e9, 2e9))
    assert study.n_base_of("grow", "large") == 9e7
    assert fitted_pairs(study) == [("grow", "small")]  # the other has one D1
    assert planned_jobs(Design(study)) == Jobs((), (), (), ())


def test_what_is_about_training_is_not_drawn(tmp_path: Path) -> None:
    study = load_checked(write(tmp_path))
    assert drawable_figures(study) == ("figure-1", "figure-3")
    assert drawable_tables(study) == ("table-1", "table-7")
    reasons = dict(not_drawn(study))
    assert set(reasons) >= {"figure-2", "dag", "gradient-norm", "table-3", "table-4", "table-5", "figure-10"}
    # The stand-ins for sections about training do not reach a reader.
    assert not any(
        "none:" in reason or "'none'" in reason or "grid." in reason for reason in reasons.values()
    )


@pytest.mark.parametrize("section", ["models", "grid", "stage1", "recipe", "scratch"])
def test_sections_about_training_are_refused(tmp_path: Path, section: str) -> None:
    path = write(tmp_path, **{section: {"x": {}}})
    with pytest.raises(UserError, match=rf"{section}: all methods are of kind measured"):
        load_study(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cells_table": None}, ["methods.grow.kind", "add cells_table"]),
        ({"methods": {"grow": MEASURED | {"replay": 0.1}}}, ["replay", "not trained", "remove"]),
        ({"methods": {"grow": MEASURED | {"d1_steps": [100]}}}, ["d1_steps", "remove"]),
        ({"methods": {"other": MEASURED}}, ["methods.other", "no rows", "grow"]),
        ({"methods": {"grow": MEASURED | {"models": ["huge"]}}}, ["methods.grow.models", "huge", "small"]),
        ({"cells_table": {"cells": "nowhere.csv"}}, ["cells_table.cells", "nowhere.csv"]),
    ],
)
def test_mistakes_are_named_with_key_and_fix(
    tmp_path: Path, changes: dict[str, object], told: list[str]
) -> None:
    with pytest.raises(UserError) as refusal:
        not_drawn(load_checked(write(tmp_path, **changes)))
    assert all(word in str(refusal.value) for word in told)


def test_conditions_select_the_rows_that_are_imported(tmp_path: Path) -> None:
    study = load_study(write(tmp_path))
    text = import_table(study, "cells", tmp_path / "cells.csv")
    assert text.splitlines() == TABLE.splitlines()[:-1]
    table = {"cells": str(tmp_path / "cells.csv"), "where": ["rates=1"]}
    with pytest.raises(UserError, match=r"cells_table.where: column 'rates' is not in the table"):
        load_study(write(tmp_path, cells_table=table)).models_of("grow")


def test_a_method_that_is_trained_elsewhere_stands_beside_trained_ones(tmp_path: Path) -> None:
    """With `cells_table` both come from the table; the design has runs of the trained method alone."""
    path = write(tmp_path)
    methods = {"stack": {"kind": "stack"}, "grow": MEASURED}
    design = make_design(cells_table={"cells": str(path.parent / "cells.csv")}, methods=methods)
    assert {run.method for run in design.stage2_runs()} == {"stack"}
    assert ("grow", "large") not in fitted_pairs(design.study)
    assert {("stack", "33k"), ("grow", "small")} <= set(fitted_pairs(design.study))


def test_figure_1_shows_the_sizes_that_the_study_names(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, figure_1_methods=["grow"], figure_1_models=["small", "large"]))
    assert shown_pairs(study) == [("grow", "small")]
