"""Durable files: atomic writes, checksums, and manifests that vouch for the payload beside them.

A manifest is small canonical JSON, written last; it is what Snakemake sees. The payload (tokens, checkpoints) is
undeclared and is checked against the manifest by the job that reads it. What a manifest *means* is decided by the
modules that write it; nothing here knows about tokens or models.
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

from twostage.common.errors import UserError

_CHUNK_BYTES = 1 << 20
#: Beside a manifest: its payload was deleted on purpose, see `release_payload`.
RELEASED_FILE = "released.json"


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: str | Path) -> None:
    """Flush a file that somebody else has written and closed to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the same directory; rename it to `path` if the block ends without an error.

    The block writes (or creates) the file under the temporary name. File and directory are fsynced around the
    rename, so after a power cut `path` holds either the old bytes or the new ones. On an error the temporary file
    is removed and `path` is untouched. Parent directories are created.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are shared like any other file the user creates.
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
    """Write `data` (str as UTF-8) to `path` so that a reader or a crash never sees half of it."""
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
    """Return JSON with sorted keys and fixed spacing; equal values give equal bytes. NaN is refused."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def payload_entries(directory: str | Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return `{name: {"bytes": size, "sha256": digest}}` for payload files below `directory` (a manifest's "payload")."""
    directory = Path(directory)
    return {
        name: {"bytes": (directory / name).stat().st_size, "sha256": sha256_file(directory / name)}
        for name in sorted(names)
    }


def write_manifest(path: str | Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as canonical JSON, atomically. Call it last: its presence says that the payload is complete.

    Keep out of it whatever differs between equal runs (times, hosts). A key "payload" as made by
    `payload_entries` is what `verify_payload` checks.
    """
    write_atomic(path, canonical_json(dict(manifest)))


def _remake(manifest_path: Path) -> str:
    return f"remake it with: snakemake -f {manifest_path}"


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: the file is missing or is not a JSON object; names it and the command that remakes it.
    """
    path = Path(path)
    fix = _remake(path)
    return read_json_object(path, missing=f"manifest is missing; {fix}", damaged=fix)


def read_json_object(path: Path, *, missing: str, damaged: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        missing: what to say, with the fix, of a file that is not there.
        damaged: the fix for one that holds something else.

    Raises:
        UserError: the file is missing or is not a JSON object; names it and the fix.
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


def verify_payload(
    manifest_path: str | Path, *, names: Iterable[str] | None = None, checksum: bool = True
) -> dict[str, Any]:
    """Check payload files of a manifest (size, then SHA-256 unless `checksum` is false); return the manifest.

    Payload names are relative to the manifest's directory; `names` limits the check to those that the caller reads.

    Raises:
        UserError: a payload file is missing, truncated or altered, or the manifest lists none; names the file and
            the command that remakes it.
    """
    manifest_path = Path(manifest_path)
    manifest = read_manifest(manifest_path)
    payload = manifest.get("payload")
    if not isinstance(payload, dict) or not payload:
        raise UserError(f"{manifest_path}: manifest lists no payload; {_remake(manifest_path)}")
    for name in payload if names is None else names:
        if name not in payload:
            raise UserError(f"{manifest_path}: manifest does not list {name}; {_remake(manifest_path)}")
        entry = payload[name]
        file = manifest_path.parent / name
        if not file.is_file():
            why = ", released after its last planned use (checkpoints: in the study)"
            released = (manifest_path.parent / RELEASED_FILE).is_file()
            raise UserError(
                f"{file}: payload file is missing{why if released else ''}; {_remake(manifest_path)}"
            )
        size = file.stat().st_size
        if size != entry["bytes"]:
            kind = "truncated" if size < entry["bytes"] else "altered"
            raise UserError(
                f"{file}: {kind}: {size} bytes, the manifest says {entry['bytes']}; {_remake(manifest_path)}"
            )
        if checksum and sha256_file(file) != entry["sha256"]:
            raise UserError(f"{file}: SHA-256 differs from the manifest's; {_remake(manifest_path)}")
    return manifest


# What becomes of a payload ------------------------------------------------------------------------------------------


def protect_payload(manifest_path: str | Path) -> None:
    """Make a manifest and its payload read-only, so that Snakemake refuses to remake them; undo: `chmod -R u+w <folder>`."""
    manifest_path = Path(manifest_path)
    for file in (
        *(manifest_path.parent / name for name in read_manifest(manifest_path)["payload"]),
        manifest_path,
    ):
        file.chmod(file.stat().st_mode & ~0o222)


def release_payload(manifest_path: str | Path, *, users: Iterable[str | Path]) -> None:
    """Delete a manifest's payload and write `released.json` beside it; the manifest stays.

    `users` are the manifests of everything that was to be made from the payload. Releasing twice changes nothing.

    Raises:
        UserError: one of the `users` is not there; nothing is deleted.
    """
    manifest_path = Path(manifest_path)
    payload = read_manifest(manifest_path)["payload"]
    for user in users:
        read_manifest(user)
    for name in payload:
        (manifest_path.parent / name).unlink(missing_ok=True)
    fact = {"bytes": sum(entry["bytes"] for entry in payload.values()), "files": sorted(payload)}
    write_atomic(manifest_path.parent / RELEASED_FILE, canonical_json(fact))
