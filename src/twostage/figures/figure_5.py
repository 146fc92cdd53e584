"""Figure 5: models trained from scratch under two learning-rate schedules."""

from __future__ import annotations

from twostage.analysis.sources import Sources
from twostage.catalogue.compared_methods import schedule_branches
from twostage.design.design import Design
from twostage.figures.loss_curves import SCHEDULES, Arm, draw_rows
from twostage.figures.style import Drawing
from twostage.study import Study


def draw_study(study: Study, sources: Sources) -> Drawing:
    """Draw the losses of models from scratch under two schedules."""
    design = Design(study)
    arms = [
        Arm(SCHEDULES[design.schedule(branch.run)], design.label(branch), branch.run.model, 0, branch.tokens)
        for branch in schedule_branches(design)
    ]
    corpus = study.stage1.corpus
    rows = {f"From scratch on {corpus} ({arms[0].model}): two schedules": arms}
    return Drawing(
        *draw_rows(rows, sources.curves(), sources.cells(), corpus=corpus, token_label="tokens $D$")
    )
