"""`twostage new config/mine.yaml`: write a commented study to start from."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

#: The keys of `study.new_study.STARTS`, whose import would slow down every command; a test compares the two.
STARTS = ("tiny", "files", "paper")


def add_parser(subparsers: Any) -> None:
    """Register the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "new",
        help="write a commented study to start from",
        description="Write a study file with every key, either set or as a comment, and how to choose its value.",
    )
    parser.add_argument(
        "path", type=Path, metavar="STUDY.yaml", help="file to write; its stem is the study's name"
    )
    parser.add_argument(
        "--from",
        dest="start",
        choices=STARTS,
        help="tiny: embedded text, takes minutes; files: your text (--corpus), takes minutes; paper: the paper's recipe and "
        "sizes (default: files if --corpus is given, else tiny)",
    )
    parser.add_argument(
        "--corpus",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="a corpus and its file, glob or folder; repeat the option for more corpora (the first is the base corpus) or "
        "more paths of one corpus",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the study and print the next steps."""
    from twostage.common.storage import write_atomic
    from twostage.study.new_study import Source, new_study

    if args.path.suffix not in (".yaml", ".yml"):
        raise ValueError(
            f"{args.path}: a study file must end in .yaml; write {args.path.with_suffix('.yaml')}"
        )
    if args.path.exists():
        raise ValueError(
            f"{args.path}: exists already and is not overwritten; choose another name or remove the file"
        )
    corpora = {name: Source(paths, _suffixes(paths)) for name, paths in _corpora(args.corpus).items()}
    text = new_study(args.path, args.start or ("files" if corpora else "tiny"), corpora)
    write_atomic(args.path, text)
    print(f"Written: {args.path}")
    for name, source in corpora.items():
        for path in source.paths:
            _print_note(name, path, source.suffixes)
    path = shlex.quote(str(args.path))
    print(f"Next:    twostage plan {path}")
    print(f"         snakemake --profile profiles/local --config study={path} -- all_figures all_tables")
    return 0


def _suffixes(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the usual ending of each folder's files; empty if no path is a folder with files."""
    from twostage.corpora.files import usual_suffixes

    folders = (Path(path).expanduser() for path in paths)
    return tuple(
        dict.fromkeys(ending for folder in folders if folder.is_dir() for ending in usual_suffixes(folder))
    )


def _print_note(name: str, path: str, suffixes: tuple[str, ...]) -> None:
    """Say that the workflow could not read a path of a corpus yet."""
    from twostage.common.errors import UserError
    from twostage.corpora.files import source_files

    try:
        source_files((path,), suffixes)
    except UserError as error:
        print(f"Note:    corpora.{name}: {error}")


def _corpora(options: list[str]) -> dict[str, tuple[str, ...]]:
    """`["a=x", "b=y", "a=z"]` -> `{"a": ("x", "z"), "b": ("y",)}`."""
    corpora: dict[str, tuple[str, ...]] = {}
    for option in options:
        name, sign, path = option.partition("=")
        if not (name and sign and path):
            raise ValueError(
                f"--corpus: {option!r} is not of the form NAME=PATH, e.g. books='data/books/*.txt'"
            )
        corpora[name] = (*corpora.get(name, ()), path)
    return corpora
