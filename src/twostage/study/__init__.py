"""The study file: one YAML file (which may extend another) describes one experiment, as frozen pydantic models.

Use `load_study(path)` to read a study. It rejects unknown keys, repeated keys and impossible grids; the message names
the key, the value and the fix. `twostage.design` derives cells, segments and paths from a study. This package only
reads the study file. `new_study` writes a commented study to start from.
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
from twostage.study.models import (
    Checkpoints,
    EvaluationSettings,
    Grid,
    ModelGrid,
    ModelSettings,
    OptimizerRecipe,
    Recipe,
    Validation,
)
from twostage.study.runs import Ablations, Repeat, ScheduleAblation, Scratch, Stage1
from twostage.study.study import CellsTable, ExcludedCell, FigureName, Laws, Study, Subset, TableName

__all__ = [
    "PIN_ME",
    "Ablations",
    "BpeTokenizer",
    "CellsTable",
    "Checkpoints",
    "Corpus",
    "Downstream",
    "DownstreamPoint",
    "EmbeddedCorpus",
    "EvaluationSettings",
    "ExcludedCell",
    "FigureName",
    "FilesCorpus",
    "Grid",
    "HuggingFaceCorpus",
    "HuggingFaceTokenizer",
    "Laws",
    "Layers",
    "ModelGrid",
    "ModelSettings",
    "OptimizerRecipe",
    "Recipe",
    "Repeat",
    "ScheduleAblation",
    "Scratch",
    "Stage1",
    "Study",
    "Subset",
    "TableName",
    "Tokenizer",
    "TokenizerFile",
    "Validation",
    "load_study",
    "read_layers",
    "study_file",
]
