"""Makes what `all_figures` and `all_tables` make from a study's tables, in this process."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from twostage.analysis.cells import read_cells
from twostage.analysis.joint_fit import fit_joint, fit_scratch
from twostage.analysis.method_fit import fit_method
from twostage.analysis.sources import Sources
from twostage.catalogue import lookup
from twostage.study import Study


def make_results(study: Study, folder: Path) -> set[str]:
    """Make the fits, figures and tables from `folder/tables/`; return the names of figures and tables."""
    cells = read_cells(folder / "tables/cells.csv")
    entries = lookup.drawn_entries(study)
    for path in {path for entry in entries for path in entry.reads(study) if path.startswith("fits/")}:
        _, kind, name = path.removesuffix(".json").split("/")
        fit = {"joint": fit_joint, "scratch": fit_scratch}.get(kind)
        made = (
            fit(cells, name, delta=1e-3)
            if fit
            else fit_method(cells, kind, name, forms=study.laws.forms, delta=1e-3)
        )
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(made.to_json())
    for entry in entries:
        module, _, function = entry.draw.partition(":")
        out = [folder / path for path in entry.files.values()]
        for path in out:
            path.parent.mkdir(parents=True, exist_ok=True)
        getattr(import_module(module), function)(
            study, Sources([folder / path for path in entry.reads(study)])
        ).write(out)
        assert all(path.stat().st_size for path in out)
    return {entry.name for entry in entries}
