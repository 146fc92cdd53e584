"""The doctor's checks of folders, with real writes on full and read-only disks."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twostage.design.design import Design
from twostage.doctor import Verdict, failed, storage
from twostage.study import load_study

ROOT = Path(__file__).parents[2]


def one(checks, name):
    [check] = [check for check in checks if check.name == name]
    return check


DISK = storage.FolderFacts("results", "results/x", "lustre", free=100 << 30, bytes_per_s=1e9)


@pytest.mark.parametrize(
    ("facts", "options", "name", "status"),
    [
        (DISK, {"need": 50 << 30}, "results, space", Verdict.OK),
        (DISK, {"need": 200 << 30}, "results, space", Verdict.MISSING),
        (dataclasses.replace(DISK, used=150 << 30), {"need": 200 << 30}, "results, space", Verdict.OK),
        (dataclasses.replace(DISK, free=1 << 20), {}, "results, space", Verdict.WARN),
        (DISK, {"state": 25 << 30}, "results, write and fsync", Verdict.OK),
        (
            dataclasses.replace(DISK, bytes_per_s=1e7),
            {"state": 25 << 30},
            "results, write and fsync",
            Verdict.WARN,
        ),
        (DISK, {"leases": True}, "results, leases", Verdict.OK),
        (
            dataclasses.replace(DISK, link_error="hard links fail"),
            {"leases": True},
            "results, leases",
            Verdict.MISSING,
        ),
        (
            dataclasses.replace(DISK, filesystem="tmpfs"),
            {"across_nodes": True},
            "results, shared by all nodes",
            Verdict.WARN,
        ),
        (
            dataclasses.replace(DISK, error="not writable: Read-only file system"),
            {},
            "results",
            Verdict.MISSING,
        ),
    ],
)
def test_verdicts_on_a_folder(facts, options, name, status):
    assert one(storage.judge(facts, **options), name).status is status


@pytest.mark.parametrize("filesystem", ["nfs4", "lustre", "gpfs", "beegfs_nodev"])
def test_shared_filesystems_are_known(filesystem):
    names = [
        c.name for c in storage.judge(dataclasses.replace(DISK, filesystem=filesystem), across_nodes=True)
    ]
    assert "results, shared by all nodes" not in names


def test_a_folder_is_measured_and_left_unchanged(tmp_path):
    (tmp_path / "old").write_bytes(b"x" * 1000)
    facts = storage.gather("results", tmp_path, write_bytes=100_000)
    assert (facts.error, facts.link_error, facts.used) == (None, None, 1000)
    assert facts.free
    assert facts.bytes_per_s > 0
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_absent_folder_is_not_made(tmp_path):
    assert storage.gather("results", tmp_path / "a/b", write_bytes=1000).error is None
    assert not (tmp_path / "a").exists()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, words in (
        ("file", "is a file"),
        ("link", "is a dangling link"),
        ("link/below", "is a dangling link"),
    ):
        assert words in storage.gather("results", tmp_path / name).error


@pytest.fixture
def mount(tmp_path):
    """A tmpfs of 256 KiB; the test is skipped if mounting is not allowed."""
    folder = tmp_path / "mount"
    folder.mkdir()

    def call(*command: str) -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not call("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)):
        pytest.skip("mounting is not allowed here")
    yield folder, call
    call("umount", str(folder))


def test_a_full_disk(mount):
    folder, _ = mount
    assert storage.filesystem_of(folder / "results") == "tmpfs"
    facts = storage.gather("results", folder / "results", write_bytes=1 << 20)
    assert facts.error == f"writing 1.0 MiB failed: {os.strerror(errno.ENOSPC)}"
    assert failed(storage.judge(facts))
    assert not list(folder.iterdir())


def test_a_read_only_mount(mount):
    folder, call = mount
    assert call("mount", "-o", "remount,ro", str(folder))
    assert storage.gather("results", folder).error == f"not writable: {os.strerror(errno.EROFS)}"


def test_a_file_size_limit_stops_the_write(tmp_path):
    """A file size limit in a subprocess has the effect of a full disk, without mounting one."""
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from twostage.doctor import storage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "print(storage.gather('results', Path(sys.argv[1]), write_bytes=100_000).error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"writing 97.7 KiB failed: {os.strerror(errno.EFBIG)}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; the read-only mount covers it")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o555)
    assert "not writable" in storage.gather("results", tmp_path).error
    tmp_path.chmod(0o755)


def test_needs_follow_the_design():
    design = Design(load_study(ROOT / "tests/studies/tiny.yaml"))
    base = design.architecture(next(iter(design.stage1_runs())))
    grown = base.with_shape(n_layer=2 * base.n_layer)
    total = grown.n_params + grown.n_embedding_params
    # fp32 weights and two moments of the larger, stacked model.
    assert storage.largest_state(design) == 12 * total
    assert storage.rolling_need(design) == 36 * total
    segments, branches = design.jobs()
    fewest = base.n_params + base.n_embedding_params
    jobs = 12 * len(segments) + 4 * len(branches)
    assert jobs * fewest < storage.results_need(design) < jobs * total
