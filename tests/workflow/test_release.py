"""Section `checkpoints` with the real Snakefile: released payloads, protected payloads, and later runs."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from working_copy import Workflow

from twostage.planning.plan import CorpusSize, plan_study
from twostage.study import load_study

pytestmark = pytest.mark.workflow

STUDY = "config/small.yaml"
CONFIG = ("--config", f"study={STUDY}")
TARGETS = ("--", "all_figures", "all_tables")
RESULTS = "results/small"
RUN = f"{RESULTS}/stage2/stack/8k/seed-0/D1-11264"
#: By hand: trunks end at 20 and 40 steps of 8 x 64 tokens.
INTERIOR, LAST = f"{RUN}/trunk/10240/checkpoint", f"{RUN}/trunk/20480/checkpoint"
GROWN = f"{RUN}/init/checkpoint"
KINDS = {
    "base trunk": "stage1/*/*/*/trunk/*",
    "base decay": "stage1/**/decay/*",
    "grown": "stage2/*/*/*/*/init",
    "stage-2 trunk": "stage2/*/*/*/*/trunk/*",
    "stage-2 decay": "stage2/*/*/*/*/decay/*",
}
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # linux/prctl.h, linux/capability.h


def only_stack_and_code(study) -> None:
    study["methods"] = {name: study["methods"][name] for name in ("cpt-code", "stack")}


def release(study) -> None:
    study["checkpoints"] = {"grown": "release", "stage2_trunk": "release"}


@pytest.fixture(scope="module")
def kept(finished, tmp_path_factory) -> Workflow:
    """The small study with two methods and without release."""
    workflow = copy_of(finished, tmp_path_factory.mktemp("kept"))
    workflow.edit_study(STUDY, only_stack_and_code)
    for folder in (workflow.root / RESULTS / "stage2").iterdir():
        if folder.name not in ("cpt-code", "stack"):
            shutil.rmtree(folder)
    workflow.snakemake("--cores", "2", *CONFIG, *TARGETS)
    return workflow


def copy_of(workflow: Workflow, folder: Path) -> Workflow:
    shutil.copytree(workflow.root, folder / "copy", ignore=shutil.ignore_patterns("locks"))
    return Workflow(folder / "copy")


@pytest.fixture(scope="module")
def released(kept, tmp_path_factory) -> tuple[Workflow, dict[str, int]]:
    """The same study, then run with `release`: the planned jobs, and the result."""
    workflow = copy_of(kept, tmp_path_factory.mktemp("released"))
    workflow.edit_study(STUDY, release)
    counts = workflow.planned(*CONFIG, *TARGETS)
    workflow.snakemake("--cores", "2", *CONFIG, *TARGETS)
    return workflow, counts


def payload_bytes(folder: Path) -> int:
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [folder / name for name in manifest["payload"]]
    return sum(file.stat().st_size for file in files if file.is_file())


def test_nothing_is_released_by_default(kept):
    assert not list(kept.root.rglob("released.json"))
    assert all(payload_bytes(kept.root / folder) for folder in (INTERIOR, LAST, GROWN))


def test_release_adds_release_jobs_and_trains_nothing(released):
    """Two interior trunks (one for each D1) of two methods; two grown models of one."""
    assert released[1] == {"release_trunk": 2 * 2, "release_grown": 2}


def test_released_payloads_are_deleted_and_everything_else_is_kept(released):
    root = released[0].root
    for folder in (INTERIOR, GROWN):
        assert (root / folder / "manifest.json").is_file()
        assert payload_bytes(root / folder) == 0
        fact = json.loads((root / folder / "released.json").read_text())
        assert fact["bytes"] > 50_000
    assert payload_bytes(root / LAST) > 50_000
    gone = {str(path.parent.relative_to(root / RESULTS)) for path in root.rglob("released.json")}
    assert len(gone) == 6
    assert all(folder.startswith("stage2/") for folder in gone)


def test_results_are_the_same_with_and_without_release(kept, released):
    for name in ("tables/cells.csv", "tables/table-7.csv", "figures/figure-1.csv"):
        pd.testing.assert_frame_equal(
            *(pd.read_csv(root / RESULTS / name) for root in (kept.root, released[0].root))
        )


def test_the_disk_space_equals_that_of_the_plan(kept, released):
    """Bytes of every kind of checkpoint, before and after the release, within 5 per cent."""
    for root, key in ((kept.root, "total_bytes"), (released[0].root, "final_bytes")):
        study = load_study(root / STUDY)
        rows = plan_study(study, dict.fromkeys(study.corpora, CorpusSize(tokens=None, source=""))).disk.rows
        for kind, pattern in KINDS.items():
            manifests = (root / RESULTS).glob(f"{pattern}/checkpoint/manifest.json")
            found = sum(payload_bytes(manifest.parent) for manifest in manifests)
            planned = sum(getattr(row, key) for row in rows if row.kind == kind)
            assert found == pytest.approx(planned, rel=0.05), (kind, key)


def test_a_second_run_has_nothing_to_do(released):
    assert released[0].planned(*CONFIG, *TARGETS) == {}


def test_turning_release_off_again_has_nothing_to_do(released, tmp_path):
    workflow = copy_of(released[0], tmp_path)
    workflow.edit_study(STUDY, lambda study: study.pop("checkpoints"))
    assert workflow.planned(*CONFIG, *TARGETS) == {}


def test_appending_a_d2_continues_from_the_last_trunk(released, tmp_path):
    workflow = copy_of(released[0], tmp_path)
    workflow.edit_study(STUDY, lambda study: study["grid"]["d2"].update(trunk_steps=[20, 40, 80]))
    target = f"{RUN}/decay/D2-45056/checkpoint/manifest.json"
    assert workflow.planned(*CONFIG, "--", target) == {"train_trunk_segment": 1, "train_decay_branch": 1}
    workflow.snakemake("--cores", "1", *CONFIG, "--", target)
    once_last = f"{LAST}/released.json"
    assert workflow.planned(*CONFIG, "--", once_last) == {"release_trunk": 1}
    workflow.snakemake("--cores", "1", *CONFIG, "--", once_last)
    assert payload_bytes(workflow.root / LAST) == 0
    assert payload_bytes(workflow.root / RUN / "trunk/40960/checkpoint") > 50_000


def test_the_error_of_a_released_payload_explains_how_to_remake_it(released, tmp_path):
    workflow = copy_of(released[0], tmp_path)
    workflow.edit_study(STUDY, lambda study: study["grid"]["d2"].update(extra_steps=[30]))
    target = f"{RUN}/decay/D2-16896/checkpoint/manifest.json"
    done = workflow.snakemake("--cores", "1", *CONFIG, "--", target, check=False)
    assert done.returncode != 0
    log = (workflow.root / f"{RESULTS}/logs/stage2/stack/8k/seed-0/D1-11264/trunk-15360.log").read_text()
    assert "file is missing (deleted after its last planned use" in log
    assert f"-f {INTERIOR}/manifest.json" in log
    # The suggested commands work one after another: the grown model, its first trunk, then the new branch.
    before = (workflow.root / INTERIOR / "manifest.json").read_bytes()
    for manifest in (f"{GROWN}/manifest.json", f"{INTERIOR}/manifest.json"):
        workflow.snakemake("--cores", "1", *CONFIG, "-f", manifest)
        assert not (workflow.root / manifest).with_name("released.json").exists()
    assert (workflow.root / INTERIOR / "manifest.json").read_bytes() == before
    assert workflow.planned(*CONFIG, "--", target) == {"train_trunk_segment": 1, "train_decay_branch": 1}
    workflow.snakemake("--cores", "1", *CONFIG, "--", target)
    counts = workflow.planned(*CONFIG, *TARGETS)
    assert counts["release_grown"] == 1
    assert counts["release_trunk"] >= 1


def test_a_kept_checkpoint_cannot_be_released_by_hand(kept):
    done = kept.snakemake("-n", *CONFIG, "--", f"{LAST}/released.json", check=False)
    assert done.returncode != 0
    assert "keeps this checkpoint; see its section `checkpoints`" in done.stdout


def test_protected_checkpoints_are_read_only_and_snakemake_refuses_to_remake_them(kept, tmp_path):
    workflow = copy_of(kept, tmp_path)
    workflow.edit_study(
        STUDY, lambda study: study.update(checkpoints={"base_trunk": "protect", "base_decay": "protect"})
    )
    assert workflow.planned(*CONFIG, *TARGETS) == {}  # a change of policy retrains nothing
    base = f"{RESULTS}/stage1/generic/8k/seed-0"
    manifest = workflow.root / f"{base}/decay/D1-11264/checkpoint/manifest.json"
    command = (*CONFIG, "-f", str(manifest.relative_to(workflow.root)))
    workflow.snakemake("--cores", "1", *command)
    for file in (manifest, manifest.parent / "model.safetensors"):
        assert file.stat().st_mode & 0o222 == 0
    stage2 = workflow.root / LAST / "manifest.json"
    assert stage2.stat().st_mode & 0o200
    before = manifest.stat().st_mtime_ns
    refused = bound_by_permissions(workflow, *command)
    assert refused.returncode != 0
    assert "write-protected" in refused.stdout.lower()
    assert manifest.stat().st_mtime_ns == before
    subprocess.run(["chmod", "-R", "u+w", str(manifest.parent)], check=True)
    assert bound_by_permissions(workflow, *command).returncode == 0
    assert manifest.stat().st_mtime_ns > before


def bound_by_permissions(workflow: Workflow, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run snakemake like an ordinary user: without CAP_DAC_OVERRIDE, root must respect file permissions."""

    def drop() -> None:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)

    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=workflow.root,
        env=os.environ | {"PYTHONPATH": str(workflow.root / "src"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=drop if os.getuid() == 0 else None,
        timeout=600,
    )
