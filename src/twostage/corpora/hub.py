"""Data sets of the Hugging Face Hub (or local copies) to documents, by streaming: one pass, one order, nothing stored.

`datasets` does the reading; this module resumes a stream whose connection broke, and turns the library's errors into
messages that name the study's key and the fix. Files that `readers.py` can read do not need this module. Both
libraries are imported when first used: they are slow, and no other part of the project needs them.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from twostage.common.errors import UserError
from twostage.corpora.readers import Document, document_of
from twostage.study import PIN_ME, HuggingFaceCorpus
from twostage.study.corpora import LOCAL_BUILDERS

log = logging.getLogger(__name__)

#: Waits between attempts to reopen a broken stream, in seconds; `datasets` itself retries for minutes before it fails.
RETRY_WAITS_S = (10.0, 60.0, 300.0, 900.0)
_LOGIN = "run `hf auth login` (or set HF_TOKEN) with an account that has access"
_OFFLINE = (
    "run this job where the network is (a login node), or read a local copy (docs/data.md, offline clusters)"
)


def require_pinned(revision: str | None, what: str) -> None:
    """Refuse to download from a repository whose commit is not known yet.

    Raises:
        UserError: the revision is still PIN_ME.
    """
    if revision == PIN_ME:
        raise UserError(
            f"{what}: revision is {PIN_ME}, and only a fixed commit gives the same data again; "
            "run `twostage pin STUDY.yaml`, which looks it up and writes it into the study"
        )


def read_huggingface(
    corpus: HuggingFaceCorpus, waits_s: tuple[float, ...] = RETRY_WAITS_S
) -> Iterator[Document]:
    """Yield the documents of a data set in the order of its files (`file_stride` 1) or of every k-th file.

    A document's group is the value of `group_key`, or the text itself without one.

    Args:
        corpus: the corpus's section of the study.
        waits_s: waits before each further attempt to reopen a stream that broke; reset by every row that arrives.

    Raises:
        UserError: the revision is not pinned; the data set, configuration, split or a column does not exist, is gated
            or can't be reached.
    """
    where = f"dataset {corpus.dataset!r}"
    require_pinned(corpus.revision, where)
    wanted = corpus.filter or {}
    for row in _rows(corpus, where, waits_s):
        value_of = partial(_column, row, where)
        if all(value_of(key, f"filter: {key}") == value for key, value in wanted.items()):
            yield document_of(corpus, value_of, where)


def _column(row: dict[str, Any], where: str, name: str, key: str) -> Any:
    """Return a column's value; `a.b` is column b inside of column a, unless a column has that very name."""
    if name in row:
        return row[name]
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(
                f"{where}: {key}: no column {name!r}; the columns are {_column_names(row)}: name one of them"
            )
        value = value[part]
    return value


def _column_names(row: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for name, value in sorted(row.items()):
        names += _column_names(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return names


def _rows(corpus: HuggingFaceCorpus, where: str, waits_s: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    """Yield all rows, part by part; part i of k has files i, i + k, i + 2k, ..."""
    # An empty cache: after a failed look-up the library would fall back on whatever revision an earlier run has left.
    with tempfile.TemporaryDirectory(prefix="twostage-datasets-") as cache:
        try:
            first = _open(corpus, cache)
            n_parts = min(corpus.file_stride, int(first.num_shards))
        except Exception as error:  # the libraries raise some thirty kinds
            raise _explain(error, corpus, where) from error

        def reopen(part: int) -> Any:
            return _open(corpus, cache).shard(n_parts, part, contiguous=False)

        explain = partial(_explain, corpus=corpus, where=where)
        for part in range(n_parts):
            stream = first.shard(n_parts, part, contiguous=False)
            yield from _resumed(stream, partial(reopen, part), explain, waits_s)


def _resumed(
    stream: Any,
    reopen: Callable[[], Any],
    explain: Callable[[Exception], UserError],
    waits_s: tuple[float, ...],
) -> Iterator[dict[str, Any]]:
    """Yield a stream's rows, each once; where the connection breaks, reopen the stream behind the last row."""
    state: dict[str, Any] | None = None
    failures = n_rows = 0
    while True:
        try:
            if stream is None:
                stream = reopen()
                stream.load_state_dict(state)
            for row in stream:
                yield row
                failures = 0
                n_rows += 1
            return
        except Exception as error:  # whatever the libraries let through
            if not is_transient(error) or failures == len(waits_s):
                raise explain(error) from error
            if stream is not None:
                state, stream = stream.state_dict(), None
            log.warning(
                "connection lost after row %d (%s: %s); attempt %d of %d in %.0f s",
                n_rows, type(error).__name__, error, failures + 1, len(waits_s), waits_s[failures],
            )  # fmt: skip
            time.sleep(waits_s[failures])
            failures += 1


def _open(corpus: HuggingFaceCorpus, cache: str) -> Any:
    import datasets

    path, exists = corpus.dataset, Path(corpus.dataset).expanduser().exists()
    if corpus.is_local and corpus.dataset not in LOCAL_BUILDERS:
        if not exists:
            raise UserError(
                f"dataset {path!r} does not exist (working directory {Path.cwd()}); mend the path"
            )
        path = str(Path(path).expanduser())
    elif exists:
        raise UserError(
            f"dataset {path!r}: a file or folder of that name lies in the working directory and would be read "
            f"instead; write ./{path} if you mean it, or run elsewhere"
        )
    return datasets.load_dataset(
        path,
        name=corpus.config,
        data_dir=corpus.data_dir,
        data_files=list(corpus.data_files) if corpus.data_files else None,
        split=corpus.split,
        revision=corpus.revision,
        streaming=True,
        cache_dir=cache,
    )


def fetch_file(repository: str, name: str, revision: str, where: str) -> Path:
    """Return the local path of one file of a model repository, from the client's cache (HF_HOME) or the Hub.

    Raises:
        UserError: the revision is not pinned; repository or file do not exist, are gated or can't be reached.
    """
    require_pinned(revision, where)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    page = f"https://huggingface.co/{repository}"
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except RemoteEntryNotFoundError:
        raise UserError(
            f"{where}: the repository has no {name}; name one of its files, see {page}/tree/{revision}"
        ) from None
    except Exception as error:  # the client raises some thirty kinds
        raise hub_error(error, where, page) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def is_transient(error: BaseException) -> bool:
    """Return whether a later attempt may succeed: a broken connection, a timeout, an overloaded server."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for cause in _chain(error):
        if isinstance(cause, UserError | OfflineModeIsEnabled):
            return False
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code == 429 or cause.response.status_code >= 500
        # By name: which HTTP client the libraries use differs between their releases.
        module = type(cause).__module__.partition(".")[0]
        if isinstance(cause, ConnectionError | TimeoutError) or module in (
            "httpx",
            "httpx2",
            "httpcore",
            "aiohttp",
        ):
            return True
    return False


def _explain(error: BaseException, corpus: HuggingFaceCorpus, where: str) -> UserError:
    """Return the message for the user; the library's own words stand at its end."""
    if isinstance(error, UserError):
        return error
    if corpus.is_local:
        return UserError(
            f"{where}: `datasets` could not read it ({error}); mend dataset, data_files, data_dir, config or split"
        )
    return hub_error(error, where, f"https://huggingface.co/datasets/{corpus.dataset}")


def hub_error(error: BaseException, where: str, page: str) -> UserError:
    """Return an error of the Hub's client as a message with the fix.

    Args:
        error: what was raised.
        where: the key and value it happened at.
        page: address of the repository's page.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    causes = list(_chain(error))

    def any_is(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    text = " ".join(str(error).split())
    if any_is(GatedRepoError) or "gated dataset" in text:
        return UserError(f"{where}: gated: accept its terms on {page}, then {_LOGIN} ({text})")
    if any_is(OfflineModeIsEnabled) or "OfflineModeIsEnabled" in text:
        return UserError(f"{where}: HF_HUB_OFFLINE is set; unset it and {_OFFLINE} ({text})")
    if any_is(RevisionNotFoundError) or text.startswith("Revision "):
        return UserError(
            f"{where}: no such revision; write {PIN_ME} and run `twostage pin STUDY.yaml` ({text})"
        )
    if any_is(RepositoryNotFoundError) or "doesn't exist on the Hub" in text:
        return UserError(
            f"{where}: not found on the Hub; mend its id, or, if it is private, {_LOGIN} ({text})"
        )
    if is_transient(error) or any_is(LocalEntryNotFoundError):
        return UserError(f"{where}: can't reach the Hub; {_OFFLINE} ({text})")
    return UserError(
        f"{where}: can't be read; mend config, split, data_dir or file names, see {page} ({text})"
    )
