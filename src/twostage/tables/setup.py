"""Tables 3, 4 and 5: the study's models and recipe, with the paper's numbers for comparison.

They are made from the study file alone. The paper's columns are filled for models of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from twostage.analysis.estimate_text import GAP
from twostage.design.trunk_points import total_with_decay
from twostage.paper.published import published_table
from twostage.study import Study
from twostage.tables.table import Table

_NOTE = "The paper's numbers are given for models of the same name."


def table_3(study: Study) -> Table:
    """Return the shapes and sizes of the base models (Table 3 of the paper).

    Numbers: model, n_layer, d_model, n_head, head_dim, d_mlp, n_parameters (non-embedding), n_embedding (input and output
    embeddings), paper_n_layer, paper_d_model, paper_n_head, paper_n_parameters (as printed, without separators).
    """
    rows = []
    for name in study.models:
        shape = study.architecture(name)
        rows.append(
            {
                "model": name,
                "n_layer": shape.n_layer,
                "d_model": shape.d_model,
                "n_head": shape.n_head,
                "head_dim": shape.head_dim,
                "d_mlp": shape.d_mlp,
                "n_parameters": shape.n_params,
                "n_embedding": 2 * shape.vocab_size * shape.d_model,
            }
            | _published(3, name, ("n_layer", "d_model", "n_head", "n_parameters"))
        )
    return _table(
        "Table 3: base models",
        rows,
        {
            "model": "model",
            "n_layer": "n_layer",
            "d_model": "d_model",
            "n_head": "n_head",
            "head_dim": "head_dim",
            "d_mlp": "d_MLP",
            "n_parameters": "N",
            "n_embedding": "embedding parameters",
        },
        "N counts non-embedding parameters: n_layer (4 d_model n_head head_dim + 3 d_model d_MLP + 2 d_model) + d_model.",
    )


def table_4(study: Study) -> Table:
    """Return the settings that all runs share (those of the paper's Table 4 and of its text).

    Numbers: setting, value, paper (as printed; empty if the paper's Table 4 does not list it).
    """
    recipe = study.recipe
    printed = published_table(4)["value"].to_dict()
    values: dict[str, object] = {
        "Context length": f"{study.context:,}",
        "Embedding tying": False,
        "Optimizer": "AdamW",
        "Adam beta_1": recipe.adam_beta1,
        "Adam beta_2": recipe.adam_beta2,
        "Adam epsilon": f"{recipe.adam_eps:g}",
        "Weight decay": recipe.weight_decay,
        "Gradient clipping": recipe.grad_clip,
        "Learning-rate schedule": recipe.schedule,
        "Final learning rate over peak": recipe.final_lr_fraction,
        "Precision": recipe.precision,
        "Norm epsilon": f"{recipe.norm_eps:g}",
        "Rotary base": f"{recipe.rope_base:,}",
        "Output weights scaled by depth": recipe.scaled_output_init,
        "Vocabulary": f"{study.tokenizer.vocab_size:,}",
    }
    rows = [{"setting": key, "value": str(value), "paper": printed.get(key)} for key, value in values.items()]
    return _table(
        "Table 4: recipe of all runs",
        rows,
        {"setting": "setting", "value": "this study", "paper": "paper"},
        "Gaps: the paper's Table 4 does not list this setting.",
    )


def table_5(study: Study) -> Table:
    """Return the training settings that depend on the model's size (Table 5 of the paper).

    Numbers: model, warmup_iterations, init_std, max_iterations (longest run, decay included), batch_size,
    learning_rate (peak), d1_min_tokens, d1_max_tokens, d2_min_tokens, d2_max_tokens, paper_* as printed.
    """
    rows = []
    for name, model in study.models.items():
        grid = study.grid_of(name)
        step = model.batch_size * study.context
        tokens = {
            f"{stage}_{end}_tokens": total_with_decay(points[index]) * step
            for stage, points in (("d1", grid.d1.points), ("d2", grid.d2.points))
            for end, index in (("min", 0), ("max", -1))
        }
        rows.append(
            {
                "model": name,
                "warmup_iterations": model.warmup_steps,
                "init_std": model.effective_init_std,
                "max_iterations": total_with_decay(max(grid.d1.points[-1], grid.d2.points[-1])),
                "batch_size": model.batch_size,
                "learning_rate": model.peak_lr,
            }
            | tokens
            | _published(
                5,
                name,
                ("warmup_iterations", "init_std", "max_iterations", "batch_size", "learning_rate"),
            )
        )
    return _table(
        "Table 5: recipe of each model",
        rows,
        {
            "model": "model",
            "warmup_iterations": "warmup steps",
            "init_std": "init. standard deviation",
            "max_iterations": "longest run (steps)",
            "batch_size": "batch size",
            "learning_rate": "peak learning rate",
            "d1_min_tokens": "D₁ from",
            "d1_max_tokens": "D₁ to",
            "d2_min_tokens": "D₂ from",
            "d2_max_tokens": "D₂ to",
        },
        "Steps are optimizer steps; the decay takes a tenth of the trunk's steps. Batch size in samples of the context length.",
    )


def _published(number: int, model: str, columns: tuple[str, ...]) -> dict[str, object]:
    """Return the paper's row for a model of the same name, as printed but without thousands separators, or empty values."""
    table = published_table(number)
    if model not in table.index:
        return {f"paper_{name}": None for name in columns}
    return {f"paper_{name}": str(table.loc[model, name]).replace(",", "") for name in columns}


def _table(title: str, rows: list[dict[str, object]], heads: Mapping[str, str], note: str) -> Table:
    numbers = pd.DataFrame(rows)
    shown = pd.DataFrame(
        {head: [_pair(row[key], row.get(f"paper_{key}")) for row in rows] for key, head in heads.items()}
    )
    notes = (note,) if "paper" in heads else (note, f"Brackets: the paper. {_NOTE}")
    return Table(title=title, numbers=numbers, shown=shown, notes=notes)


def _pair(value: object, paper: object) -> str:
    """Format the study's value and the paper's: `0.0253 [0.025]`."""
    text = _text(value)
    return text if paper is None else f"{text} [{_text(paper)}]"


def _text(value: object) -> str:
    if value is None:
        return GAP
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    return f"{int(text):,}" if text.isdigit() else text
