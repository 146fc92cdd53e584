"""How many jobs of each rule a study needs: the workflow's rule graph in numbers, counted from the design alone.

Pure functions, for the DAG picture. Snakemake's own dry run counts the same jobs (a test compares them). Left out is
what only tidies up or takes no part in the story: released checkpoints, curves, the list of what is not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from twostage.corpora import dataspecs
from twostage.design.design import Design
from twostage.design.paths import Stage2Run
from twostage.exhibits import catalogue
from twostage.study import Study


@dataclass(frozen=True)
class RuleJobs:
    """Jobs of one rule; `part` tells the two stages apart, which share their rules."""

    part: str
    rule: str
    jobs: int


def rule_jobs(study: Study, design: Design) -> list[RuleJobs]:
    """Count the jobs from raw text to fitted laws, figures and tables, in the order of the workflow, rules without jobs too.

    Parts: data, stage 1, stage 2, losses, laws, results. `plot_figure` and `make_table` stand for the rules of all
    figures and tables that the study draws.
    """
    entries = catalogue.drawn_entries(study)
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
