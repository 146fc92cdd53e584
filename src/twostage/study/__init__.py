"""The study file: one YAML, one scientific experiment, as frozen pydantic models.

`load_study(path)` is the only way in; unknown keys, repeated keys and impossible grids are refused with the key, the
value and the fix. What a study *implies* (cells, segments, paths) is `design.py`'s job; nothing here touches disk
beyond reading the file.
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
from twostage.study.loading import load_study
from twostage.study.methods import Cpt, Expand, ExpandShape, Method, Scratch, Stack, Stage1
from twostage.study.models import Evaluation, Grid, Model, ModelGrid, Recipe
from twostage.study.study import ExcludedCell, Laws, Study

__all__ = [
    "PIN_ME",
    "BpeTokenizer",
    "Corpus",
    "Cpt",
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
