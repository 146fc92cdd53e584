"""Create the text of a new, commented study file from the package's templates. `cli/new.py` writes the file.

The text is validated like any other study file before it is returned.
"""

from __future__ import annotations

import math
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

import yaml

from twostage.common.errors import UserError
from twostage.study import load_study

_EMBEDDED = """\
  $name:
    source: embedded # text from the installed Python environment; no download
    domain: $name # generic, code or math
    max_bytes: 8000000 # twice as much as the longest run reads
    valid_fraction: 0.03 # share of source files held out; aim at 50 thousand tokens or more
"""
_FILES = """\
  $name:
    source: files # .txt, .jsonl, .ndjson, .json (also .gz, .zst, .bz2, .xz), .parquet, or folders
    paths: $paths
    #text_key: text # field or column that holds the text of a record; dots select nested fields
    #group_key: repository # field that names a document's source; documents of one source are in the same split
    $suffixes # file endings to read from a folder
    #encoding: utf-8 # e.g. cp1252, latin-1, utf-16
    #on_bad_text: refuse # text that is not in this encoding; skip: leave it out
    #max_bytes: 8000000 # stop after this many bytes of text; default: everything
    valid_fraction: $valid_fraction # share of source files held out; aim at 50 thousand tokens or more
"""
_CONTINUED = """\
  $method:
    kind: cpt # continual pretraining on another corpus
    corpus: $name
    #replay: 0.25 # share of base data in the mixture, counted in tokens
"""


@dataclass(frozen=True)
class _Start:
    """Values for the templates; `corpora`: name -> paths, or None if `--corpus` must give them."""

    title: str
    scale: str
    model: str
    first_step: int
    wider: str
    valid_fraction: float
    corpora: Mapping[str, tuple[str, ...]] | None


_TINY_SHAPE = "{d_model: 46, n_head: 3, d_mlp: 184}"
STARTS = {
    "tiny": _Start(
        "Takes minutes on two cores and uses text from the installed Python environment.",
        "tiny", "33k", 100, _TINY_SHAPE, 0.03, {"generic": (), "code": ()},
    ),
    "files": _Start(
        "Your own text, with a small model that takes minutes on two cores. Try larger models and longer grids next.",
        "tiny", "33k", 100, _TINY_SHAPE, 0.1, None,
    ),
    "paper": _Start(
        "The paper's recipe at its three smallest sizes. Needs GPUs.",
        "paper", "15M", 1000, "{d_model: 448, n_head: 6, d_mlp: 1792}", 0.0005,
        {"generic": ("data/slimpajama-dc/common_crawl/*.jsonl.zst",), "code": ("data/starcoder/*.parquet",)},
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Files of a new study's corpus: files, globs or folders, and the file endings to read from its folders."""

    paths: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()


def new_study(path: Path, start: str, corpora: Mapping[str, Source]) -> str:
    """Return the text of a new study for the file `path`. The first of the `corpora` is the base corpus.

    Args:
        path: the file that will be written; its stem is the study's name.
        start: a key of `STARTS`.
        corpora: name -> its files; empty: the corpora of the chosen start.

    Raises:
        UserError: the resulting study is invalid; the message says what to change.
    """
    chosen = STARTS[start]
    own = dict(corpora) or {name: Source(paths) for name, paths in (chosen.corpora or {}).items()}
    if not own:
        raise UserError(
            "--from files: no files given; add e.g. --corpus books='data/books/*.txt' --corpus code=src (the first is the base corpus)"
        )
    base, *others = own
    text = Template(_template("study")).substitute(
        title=chosen.title,
        name=path.stem,
        path=shlex.quote(str(path)),
        description=_description(base, others),
        corpora="".join(_corpus(name, source, chosen) for name, source in own.items()).rstrip("\n"),
        scale=Template(_template(f"scale-{chosen.scale}"))
        .substitute(listed=", ".join(map(_yaml, own)))
        .rstrip("\n")
        + "\n",
        model=chosen.model,
        first_step=chosen.first_step,
        wider=chosen.wider,
        base=_yaml(base),
        other=_yaml(others[0] if others else base),
        methods="".join(_continued(name) for name in others).rstrip("\n"),
    )
    _check(path, text)
    return text


def _template(name: str) -> str:
    return (resources.files("twostage.study") / f"templates/{name}.yaml").read_text(encoding="utf-8")


def _description(base: str, others: list[str]) -> str:
    continued = f"continual pretraining on {' and '.join(others)}, and " if others else ""
    text = f"What a base model pretrained on {base} is worth: {continued}depth growth. Replace this by what you want to find out."
    return " ".join(text.split())


def _corpus(name: str, source: Source, start: _Start) -> str:
    if not source.paths:
        return Template(_EMBEDDED).substitute(name=_yaml(name))
    return Template(_FILES).substitute(
        name=_yaml(name),
        paths=_yaml(list(source.paths)),
        suffixes=f"suffixes: {_yaml(list(source.suffixes))}" if source.suffixes else "#suffixes: [.py]",
        valid_fraction=start.valid_fraction,
    )


def _continued(name: str) -> str:
    return Template(_CONTINUED).substitute(method=_yaml(f"cpt-{name}"), name=_yaml(name))


def _yaml(value: str | list[str]) -> str:
    """Return a name or a list as YAML on one line, quoted where YAML would read something else."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").rstrip("\n")


def _check(path: Path, text: str) -> None:
    """Validate the text as a study file of the same name."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        file.write_text(text, encoding="utf-8")
        try:
            load_study(file)
        except UserError as error:
            raise UserError(str(error).replace(str(file), str(path))) from None
