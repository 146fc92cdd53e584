"""Documents of a data set on the Hugging Face Hub, or of a local copy, streamed in a fixed order and not stored.

The library `datasets` reads them. This module resumes a stream after a broken connection, and turns the library's errors into
messages with the study's key and the fix. Local files are read by `readers.py`. `datasets` and `huggingface_hub` are
imported in functions because their import is slow and nothing else needs them.
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
from twostage.corpora import records
from twostage.corpora.readers import Document, document_of
from twostage.study import PIN_ME, HuggingFaceCorpus
from twostage.study.corpora import LOCAL_BUILDERS

log = logging.getLogger(__name__)

#: Seconds to wait before each attempt to reopen a broken stream. `datasets` itself retries for minutes before it fails.
RETRY_WAITS_S = (10.0, 60.0, 300.0, 900.0)
_LOGIN = "run `hf auth login` (or set HF_TOKEN) with an account that has access"
_OFFLINE = "run this job on a machine with network access (a login node), or read a local copy (docs/data.md, offline clusters)"


def require_pinned(revision: str | None, what: str) -> None:
    """Check that the revision of a repository is a commit and not PIN_ME.

    Raises:
        UserError: the revision is still PIN_ME.
    """
    if revision == PIN_ME:
        raise UserError(
            f"{what}: revision is {PIN_ME}, but only a fixed commit is reproducible; "
            "run `twostage pin STUDY.yaml`, which writes the current commit into the study"
        )


def read_huggingface(
    corpus: HuggingFaceCorpus, waits_s: tuple[float, ...] = RETRY_WAITS_S
) -> Iterator[Document]:
    """Yield the documents of a data set in the order of its files; with `file_stride` k: files 0, k, 2k, ..., 1, k + 1, ...

    The group of a document is the value of `group_key`, or the text itself if there is no `group_key`.

    Args:
        corpus: the corpus's section of the study.
        waits_s: seconds to wait before each attempt to reopen a broken stream; starts over after every row that arrives.

    Raises:
        UserError: the revision is not pinned; the data set, configuration, split or a column does not exist; access is
            gated; the Hub can't be reached.
    """
    where = f"dataset {corpus.dataset!r}"
    require_pinned(corpus.revision, where)
    wanted = corpus.filter or {}
    for row in _rows(corpus, where, waits_s):
        value_of = partial(records.field, row, where)
        if all(value_of(key, f"filter: {key}") == value for key, value in wanted.items()):
            yield document_of(corpus, value_of, where)


def _rows(corpus: HuggingFaceCorpus, where: str, waits_s: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    """Yield all rows, part by part; part i of k has files i, i + k, i + 2k, ..."""
    # An empty cache: after a failed look-up the library would use any revision that an earlier run has cached.
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
    """Yield each row of a stream once. After a broken connection, reopen the stream after the last row."""
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
        except Exception as error:  # the libraries raise many kinds
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
                f"dataset {path!r} does not exist (working directory {Path.cwd()}); correct the path"
            )
        path = str(Path(path).expanduser())
    elif exists:
        raise UserError(
            f"dataset {path!r}: a file or folder with this name in the working directory would be read instead of the "
            f"Hub's data set; write ./{path} to read it, or run in another directory"
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
        UserError: the revision is not pinned; repository or file does not exist; access is gated; the Hub can't be reached.
    """
    require_pinned(revision, where)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    page = f"https://huggingface.co/{repository}"
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except RemoteEntryNotFoundError:
        raise UserError(
            f"{where}: the repository has no file {name}; choose one of {page}/tree/{revision}"
        ) from None
    except Exception as error:  # the client raises some thirty kinds
        raise hub_error(error, where, page) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its chain of causes."""
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
        # By name: the HTTP client differs between releases of the libraries.
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
    """Return an error for the user, which ends with the library's message."""
    if isinstance(error, UserError):
        return error
    if corpus.is_local:
        return UserError(
            f"{where}: `datasets` could not read it ({error}); correct dataset, data_files, data_dir, config or split"
        )
    return hub_error(error, where, f"https://huggingface.co/datasets/{corpus.dataset}")


def hub_error(error: BaseException, where: str, page: str) -> UserError:
    """Return an error of the Hub's client as a message with the fix.

    Args:
        error: the exception.
        where: the study's key and value.
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
            f"{where}: not found on the Hub; correct its id, or, if it is private, {_LOGIN} ({text})"
        )
    if is_transient(error) or any_is(LocalEntryNotFoundError):
        return UserError(f"{where}: can't reach the Hub; {_OFFLINE} ({text})")
    return UserError(
        f"{where}: can't be read; correct config, split, data_dir or file names, see {page} ({text})"
    )
