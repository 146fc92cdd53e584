"""The study file: one YAML, one scientific experiment, as frozen pydantic models.

`load_study(path)` is the only way in; unknown keys, repeated keys and impossible grids are refused with the key, the
value and the fix. What a study *implies* (cells, segments, paths) is `design.py`'s job; nothing here touches disk
beyond reading the file.
"""

from twostage.study.corpora import (
    BpeTokenizer,
    Corpus,
    EmbeddedCorpus,
    FilesCorpus,
    Tokenizer,
    TokenizerFile,
)
from twostage.study.downstream import Downstream, DownstreamPoint
from twostage.study.loading import load_study
from twostage.study.methods import Cpt, Expand, ExpandShape, Method, Scratch, Stack, Stage1
from twostage.study.models import Evaluation, Grid, Model, ModelGrid, Recipe
from twostage.study.study import ExcludedCell, Laws, Study

__all__ = [
    "BpeTokenizer",
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
    "Laws",
    "Method",
    "Model",
    "ModelGrid",
    "Recipe",
    "Scratch",
    "Stack",
    "Stage1",
    "Study",
    "Tokenizer",
    "TokenizerFile",
    "load_study",
]
