"""The study file: one YAML (which may extend another), one scientific experiment, as frozen pydantic models.

`load_study(path)` is the only way in; unknown keys, repeated keys and impossible grids are refused with the key, the
value and the fix. What a study *implies* (cells, segments, paths) is `design.py`'s job; nothing here touches disk
beyond reading the file. `new_study` writes a commented one to begin with.
"""

from twostage.study.corpora import (
    PIN_ME,
    BpeTokenizer,
    Corpus,
    EmbeddedCorpus,
    FilesCorpus,
    HuggingFaceCorpus,
    HuggingFaceTokenizer,
    Tokenizer,
    TokenizerFile,
)
from twostage.study.downstream import Downstream, DownstreamPoint
from twostage.study.layers import Layers, read_layers
from twostage.study.loading import load_study, study_file
from twostage.study.methods import (
    Ablations,
    Cpt,
    Expand,
    ExpandShape,
    Method,
    Repeat,
    ScheduleAblation,
    ScheduleKind,
    Scratch,
    Stack,
    Stage1,
)
from twostage.study.models import (
    Checkpoints,
    Evaluation,
    Grid,
    Model,
    ModelGrid,
    OptimizerRecipe,
    Recipe,
    Validation,
)
from twostage.study.study import CellsTable, ExcludedCell, Laws, Study, Subset

__all__ = [
    "PIN_ME",
    "Ablations",
    "BpeTokenizer",
    "CellsTable",
    "Checkpoints",
    "Corpus",
    "Cpt",
    "Downstream",
    "DownstreamPoint",
    "EmbeddedCorpus",
    "Evaluation",
    "ExcludedCell",
    "Expand",
    "ExpandShape",
    "FilesCorpus",
    "Grid",
    "HuggingFaceCorpus",
    "HuggingFaceTokenizer",
    "Laws",
    "Layers",
    "Method",
    "Model",
    "ModelGrid",
    "OptimizerRecipe",
    "Recipe",
    "Repeat",
    "ScheduleAblation",
    "ScheduleKind",
    "Scratch",
    "Stack",
    "Stage1",
    "Study",
    "Subset",
    "Tokenizer",
    "TokenizerFile",
    "Validation",
    "load_study",
    "read_layers",
    "study_file",
]
