"""Durable files: content on disk after success and after an error, and reports of damage."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twostage.common.errors import UserError
from twostage.common.storage import (
    atomic_path,
    canonical_json,
    payload_entries,
    protect_payload,
    read_manifest,
    release_payload,
    sha256_file,
    verify_payload,
    write_atomic,
    write_manifest,
)


def _payload(folder: Path) -> Path:
    (folder / "a.bin").write_bytes(b"abc" * 1000)
    (folder / "sub").mkdir()
    (folder / "sub/b.bin").write_bytes(b"xyz")
    write_manifest(folder / "manifest.json", {"payload": payload_entries(folder, ["sub/b.bin", "a.bin"])})
    return folder / "manifest.json"


def test_sha256_of_known_vector(tmp_path: Path) -> None:
    write_atomic(tmp_path / "abc", "abc")  # FIPS 180-2, example B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_a_file_longer_than_one_read(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) + 17)
    write_atomic(tmp_path / "long", data)
    assert sha256_file(tmp_path / "long") == hashlib.sha256(data).hexdigest()


def test_write_atomic_makes_folders_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    target = tmp_path / "x/y/file.txt"
    write_atomic(target, "one")
    write_atomic(target, "zwölf")
    assert target.read_text(encoding="utf-8") == "zwölf"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write_atomic(tmp_path / "shared", b"")
    finally:
        os.umask(umask)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o640


def test_an_error_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, "old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomic(target, "old")
    program = (
        "import os, sys\nfrom twostage.common.storage import atomic_path\n"
        "with atomic_path(sys.argv[1]) as t:\n    t.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert killed.returncode == -9
    assert target.read_text() == "old"


def test_canonical_json_ignores_order_of_keys_and_refuses_nan() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "ü"]}) == canonical_json({"a": [1.5, "ü"], "b": 1})
    assert json.loads(canonical_json({"b": 1, "a": "ü"})) == {"a": "ü", "b": 1}
    with pytest.raises(ValueError, match=r"not JSON compliant"):
        canonical_json({"loss": float("nan")})


def test_an_undamaged_payload_is_accepted(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    assert set(verify_payload(manifest)["payload"]) == {"a.bin", "sub/b.bin"}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"abc" * 999, "truncated"),
        (b"abc" * 1001, "altered"),
        (b"abC" + b"abc" * 999, "SHA-256"),
        (None, "missing"),
    ],
)
def test_a_damaged_payload_is_named_with_the_command_that_remakes_it(
    tmp_path: Path, data: bytes | None, words: str
) -> None:
    manifest = _payload(tmp_path)
    file = tmp_path / "a.bin"
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(UserError) as caught:
        verify_payload(manifest)
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert f"-f {manifest}" in str(caught.value)


def test_only_the_named_files_are_checked(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    (tmp_path / "a.bin").unlink()
    verify_payload(manifest, names=["sub/b.bin"])
    with pytest.raises(UserError, match=r"does not list c\.bin"):
        verify_payload(manifest, names=["c.bin"])


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "is missing"), ("{", "not valid JSON"), ("[1]", "not a JSON object"), ("\x00", "not valid JSON")],
)
def test_an_unreadable_manifest_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_a_manifest_without_payload_is_an_error(tmp_path: Path) -> None:
    write_manifest(tmp_path / "manifest.json", {"payload": {}})
    with pytest.raises(UserError, match="lists no payload"):
        verify_payload(tmp_path / "manifest.json")


def test_a_released_payload_is_deleted_and_the_error_explains_how_to_remake_it(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    before = manifest.read_text()
    release_payload(manifest, consumers=[manifest])
    assert not (tmp_path / "a.bin").exists()
    assert not (tmp_path / "sub/b.bin").exists()
    assert manifest.read_text() == before
    assert json.loads((tmp_path / "released.json").read_text()) == {
        "bytes": 3003,
        "files": ["a.bin", "sub/b.bin"],
    }
    with pytest.raises(UserError) as caught:
        verify_payload(manifest)
    assert "a.bin: file is missing (deleted after its last planned use" in str(caught.value)
    assert f"-f {manifest}" in str(caught.value)


def test_releasing_twice_changes_nothing(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    release_payload(manifest, consumers=[manifest])
    fact = (tmp_path / "released.json").read_text()
    release_payload(manifest, consumers=[manifest])
    assert (tmp_path / "released.json").read_text() == fact


def test_nothing_is_released_before_all_consumers_exist(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    with pytest.raises(UserError, match=r"later/manifest\.json: manifest is missing"):
        release_payload(manifest, consumers=[manifest, tmp_path / "later/manifest.json"])
    assert verify_payload(manifest)
    assert not (tmp_path / "released.json").exists()


def test_a_protected_payload_is_read_only_and_readable(tmp_path: Path) -> None:
    manifest = _payload(tmp_path)
    protect_payload(manifest)
    files = [manifest, tmp_path / "a.bin", tmp_path / "sub/b.bin"]
    assert [file.stat().st_mode & 0o222 for file in files] == [0, 0, 0]
    assert verify_payload(manifest)
