"""Count the jobs of each rule from the design, for the picture of the DAG.

A test compares the counts with Snakemake's dry run. Not counted are rules that are not needed to explain the workflow:
releasing checkpoints, collecting curves, listing what is not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from twostage.catalogue import lookup
from twostage.corpora import dataspecs
from twostage.design.design import Design
from twostage.design.paths import Stage2Run
from twostage.study import Study


@dataclass(frozen=True)
class RuleJobs:
    """Number of jobs of one rule. `part` distinguishes the two stages, which share rules."""

    part: str
    rule: str
    jobs: int


def rule_jobs(study: Study, design: Design) -> list[RuleJobs]:
    """Count the jobs from raw text to figures and tables, in the order of the workflow, including rules without jobs.

    Parts: data, stage 1, stage 2, losses, laws, results. `plot_figure` and `make_table` count all
    figures and tables of the study.
    """
    entries = lookup.drawn_entries(study)
    fits = {path for entry in entries for path in entry.reads(study) if path.startswith("fits/")}
    segments, branches = design.jobs()
    runs = design.runs()
    cells = design.cells()
    excluded = {entry.cell for entry in study.excluded_cells}
    read = {corpus for run in runs for corpus in design.mixture(run)} | {cell.corpus for cell in cells}
    prepared = read | set(dataspecs.tokenizer_spec(study).corpora)
    grown = [run for run in runs if isinstance(run, Stage2Run) and design.grows(run)]
    joint, scratch = (sum(path.startswith(f"fits/{kind}/") for path in fits) for kind in ("joint", "scratch"))
    counts = [
        ("data", "prepare_corpus", len(prepared)),
        ("data", "train_tokenizer", 1),
        ("data", "tokenize_corpus", len(read)),
    ]
    for stage in (1, 2):
        part = f"stage {stage}"
        if stage == 2:
            counts.append((part, "grow_checkpoint", len(grown)))
        counts.append((part, "train_trunk_segment", sum(s.run.stage == stage for s in segments)))
        counts.append((part, "train_decay_branch", sum(b.run.stage == stage for b in branches)))
    counts += [
        ("losses", "evaluate_checkpoint", sum(cell.path not in excluded for cell in cells)),
        ("losses", "aggregate_cells", 1),
        ("laws", "fit_law", len(fits) - joint - scratch),
        ("laws", "fit_joint_law", joint),
        ("laws", "fit_scratch_law", scratch),
        ("results", "plot_figure", sum(entry.rule_name.startswith("plot_") for entry in entries)),
        ("results", "make_table", sum(entry.rule_name.startswith("make_") for entry in entries)),
    ]
    return [RuleJobs(*count) for count in counts]
