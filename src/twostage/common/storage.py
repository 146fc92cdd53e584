"""Atomic writes, checksums, and manifests.

A manifest is a small JSON file in canonical form. It lists the sizes and SHA-256 sums of the large files in its folder, which
are called its payload (token files, checkpoints). Snakemake only knows the manifest, which is written last; the job that
reads the payload checks it against the manifest. The other fields of a manifest belong to the modules that write it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from twostage.common.advice import remake
from twostage.common.errors import UserError

_CHUNK_BYTES = 1 << 20
#: Written next to a manifest whose payload was deleted on purpose, see `release_payload`.
RELEASED_FILE = "released.json"


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: str | Path) -> None:
    """Flush a file to disk that has been written and closed elsewhere."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same directory; rename it to `path` if the block ends without an error.

    The block writes the file under the temporary path. File and directory are fsynced around the rename, so that after a
    power failure `path` holds either the old or the new bytes. On an error the temporary file is removed and `path` is
    unchanged. Parent directories are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates private files; results get the usual permissions of new files.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        fsync_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_directory(path.parent)


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write `data` (str as UTF-8) to `path` atomically: it is never seen half written."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256_file(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and fixed spacing, so that equal values give equal bytes. NaN raises `ValueError`."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_digest(**parts: Any) -> str:
    """Return a digest of named JSON values, 32 hexadecimal digits.

    The `key` of a job is the digest of its `spec`, the manifest of its `parent` and the manifests of its `data`: everything
    that it was made from.
    """
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def payload_entries(directory: str | Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return `{name: {"bytes": size, "sha256": digest}}` for files below `directory`: the field "payload" of a manifest."""
    directory = Path(directory)
    return {
        name: {"bytes": (directory / name).stat().st_size, "sha256": sha256_file(directory / name)}
        for name in sorted(names)
    }


def write_manifest(path: str | Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as canonical JSON, atomically. Call it last: a manifest means that the payload is complete.

    It must not hold anything that differs between equal runs, such as times or hosts. `verify_payload` checks its field
    "payload", as returned by `payload_entries`.
    """
    write_atomic(path, canonical_json(dict(manifest)))


def _fix(manifest_path: Path) -> str:
    return f"remake it with: {remake(manifest_path)}"


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: the file is missing or is not a JSON object; the message has the command that remakes it.
    """
    path = Path(path)
    fix = _fix(path)
    return read_json_object(path, missing=f"manifest is missing; {fix}", damaged=fix)


def read_json_object(path: Path, *, missing: str, damaged: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        missing: message, with the fix, for a missing file.
        damaged: fix for a file that is not a JSON object.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: {missing}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {damaged}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object; {damaged}")
    return content


def verify_payload(manifest_path: str | Path, *, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Check size and SHA-256 of the payload files of a manifest; return the manifest.

    File names are relative to the manifest's directory. `names` limits the check to the files that the caller reads.

    Raises:
        UserError: a payload file is missing, truncated or altered, or the manifest lists none; the message has the file
            and the command that remakes it.
    """
    manifest_path = Path(manifest_path)
    manifest = read_manifest(manifest_path)
    payload = manifest.get("payload")
    if not isinstance(payload, dict) or not payload:
        raise UserError(f"{manifest_path}: manifest lists no payload; {_fix(manifest_path)}")
    for name in payload if names is None else names:
        if name not in payload:
            raise UserError(f"{manifest_path}: manifest does not list {name}; {_fix(manifest_path)}")
        entry = payload[name]
        file = manifest_path.parent / name
        if not file.is_file():
            why = " (deleted after its last planned use, see `checkpoints` in the study)"
            released = (manifest_path.parent / RELEASED_FILE).is_file()
            raise UserError(f"{file}: file is missing{why if released else ''}; {_fix(manifest_path)}")
        size = file.stat().st_size
        if size != entry["bytes"]:
            kind = "truncated" if size < entry["bytes"] else "altered"
            raise UserError(
                f"{file}: {kind}: {size} bytes, the manifest lists {entry['bytes']}; {_fix(manifest_path)}"
            )
        if sha256_file(file) != entry["sha256"]:
            raise UserError(f"{file}: SHA-256 differs from the manifest's; {_fix(manifest_path)}")
    return manifest


# Protecting and deleting payload -------------------------------------------------------------------------------------------


def protect_payload(manifest_path: str | Path) -> None:
    """Make a manifest and its payload read-only, so that Snakemake does not overwrite them. Undo: `chmod -R u+w <folder>`."""
    manifest_path = Path(manifest_path)
    for file in (
        *(manifest_path.parent / name for name in read_manifest(manifest_path)["payload"]),
        manifest_path,
    ):
        file.chmod(file.stat().st_mode & ~0o222)


def release_payload(manifest_path: str | Path, *, consumers: Iterable[str | Path]) -> None:
    """Delete a manifest's payload and write `released.json` next to the manifest, which stays.

    `consumers` are the manifests of everything that is made from the payload. A second call changes nothing.

    Raises:
        UserError: the manifest of a consumer is missing; nothing is deleted.
    """
    manifest_path = Path(manifest_path)
    payload = read_manifest(manifest_path)["payload"]
    for consumer in consumers:
        read_manifest(consumer)
    for name in payload:
        (manifest_path.parent / name).unlink(missing_ok=True)
    record = {"bytes": sum(entry["bytes"] for entry in payload.values()), "files": sorted(payload)}
    write_atomic(manifest_path.parent / RELEASED_FILE, canonical_json(record))
