"""The doctor's verdicts on gathered facts: GPU nodes good and bad, disks, data, Slurm, limits."""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from pathlib import Path

import pytest
import yaml

from twostage.doctor import (
    Check,
    Status,
    backends,
    container,
    data,
    failed,
    gpu,
    gpu_facts,
    limits,
    packages,
    slurm,
)
from twostage.doctor.check import Answer, ask, human_bytes
from twostage.doctor.examine import machine_kind
from twostage.study import load_study

ROOT = Path(__file__).parents[2]
TE_RANGE = ">=2.9.0a0,<2.12.0"
H100 = gpu_facts.Device("NVIDIA H100 80GB HBM3", "580.159.04", 81559, (9, 0))
NODE = gpu_facts.GpuFacts(
    torch=gpu_facts.TorchFacts(
        "2.13.0+cu130",
        cuda="13.0",
        usable=True,
        devices=2,
        capability=(9, 0),
        architectures=("sm_80", "sm_90", "compute_120"),
        nccl="2.29.7",
    ),
    devices=(H100, H100),
    driver_cuda="13.0",
    te=gpu_facts.LibraryFacts("2.11.0"),
    flash=gpu_facts.LibraryFacts("2.8.3"),
    te_range=TE_RANGE,
)


def change(facts, **changes):
    return dataclasses.replace(facts, **changes)


def one(checks: list[Check], name: str) -> Check:
    [check] = [check for check in checks if check.name == name]
    return check


# Checks ---------------------------------------------------------------------------------------------------------------


def test_a_fix_belongs_to_what_is_not_well():
    with pytest.raises(ValueError, match="a fix belongs"):
        Check("g", "n", "bad", Status.MISSING)
    with pytest.raises(ValueError, match="a fix belongs"):
        Check("g", "n", "good", Status.OK, "do something")


def test_only_missing_fails():
    ok, warn = Check("g", "n", "f", Status.OK), Check("g", "n", "f", Status.WARN, "x")
    absent = Check("g", "n", "f", Status.NOT_APPLICABLE)
    assert not failed([ok, warn, absent])
    assert failed([ok, Check("g", "n", "f", Status.MISSING, "x")])


def test_programs_that_are_absent_fail_or_hang_are_answers():
    assert (
        ask(["no-such-program-here"], timeout_s=5).complaint
        == "no-such-program-here: No such file or directory"
    )
    assert "no answer in 0.2 s" in ask(["sleep", "20"], timeout_s=0.2).complaint
    broken = ask(["sh", "-c", "echo bad >&2; exit 3"], timeout_s=5)
    assert (broken.code, broken.complaint) == (3, "bad")
    assert human_bytes(3 << 30) == "3.0 GiB"


# GPUs -----------------------------------------------------------------------------------------------------------------


def test_a_sound_gpu_node_has_nothing_to_mend():
    checks = gpu.judge(NODE, "cuda")
    assert {check.status for check in checks} == {Status.OK}
    assert "2 x NVIDIA H100 80GB HBM3, 80 GiB, driver 580.159.04 (CUDA 13.0)" in one(checks, "GPU").found
    assert gpu.available_backends(NODE) == {"sdpa", "flash", "te"}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        (
            change(NODE, devices=(), smi_error="No devices were found"),
            "GPU",
            Status.MISSING,
            "No devices were found",
        ),
        (change(NODE, devices=(H100, change(H100, name="A100"))), "GPU", Status.WARN, "A100 and NVIDIA H100"),
        (change(NODE, devices=(change(H100, capability=(7, 0)),)), "GPU", Status.WARN, "H100"),
        (
            change(NODE, driver_cuda="12.4"),
            "PyTorch and CUDA",
            Status.MISSING,
            "the driver runs up to CUDA 12.4",
        ),
        (
            change(NODE, torch=gpu_facts.TorchFacts("2.13.0+cpu")),
            "PyTorch and CUDA",
            Status.MISSING,
            "is a CPU build",
        ),
        (
            change(NODE, torch=gpu_facts.TorchFacts(None, error="ImportError: libcudart.so.13")),
            "PyTorch and CUDA",
            Status.MISSING,
            "libcudart.so.13",
        ),
        (
            change(NODE, torch=change(NODE.torch, architectures=("sm_100",))),
            "PyTorch and CUDA",
            Status.MISSING,
            "this GPU is sm_90",
        ),
        (
            change(NODE, torch=change(NODE.torch, usable=False, error="CUDA initialization failed")),
            "GPU from PyTorch",
            Status.MISSING,
            "CUDA initialization failed",
        ),
        (
            change(NODE, torch=change(NODE.torch, devices=1)),
            "GPU from PyTorch",
            Status.WARN,
            "nvidia-smi lists 2",
        ),
        (change(NODE, torch=change(NODE.torch, nccl=None)), "nccl", Status.MISSING, "not reported"),
        (
            change(NODE, te=gpu_facts.LibraryFacts("2.20.2")),
            "transformer-engine",
            Status.WARN,
            "outside megatron-core's range",
        ),
        (
            change(NODE, te=gpu_facts.LibraryFacts("2.11.0", "undefined symbol")),
            "transformer-engine",
            Status.WARN,
            "symbol",
        ),
        (change(NODE, te=gpu_facts.LibraryFacts()), "transformer-engine", Status.WARN, "absent"),
        (
            change(NODE, flash=gpu_facts.LibraryFacts("2.8.3.post2")),
            "flash-attn",
            Status.WARN,
            "takes <=2.8.3,>=2.1.1 only",
        ),
        (
            change(NODE, flash=gpu_facts.LibraryFacts("2.8.3", "undefined symbol")),
            "flash-attn",
            Status.WARN,
            "symbol",
        ),
        (change(NODE, flash=gpu_facts.LibraryFacts()), "flash-attn", Status.WARN, "absent"),
    ],
)
def test_what_is_wrong_with_a_gpu_node_is_named(facts, name, status, words):
    check = one(gpu.judge(facts, "cuda"), name)
    assert check.status is status
    assert words in check.found


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"te": gpu_facts.LibraryFacts("2.20.2")}, {"sdpa", "flash"}),
        ({"te": gpu_facts.LibraryFacts("2.11.0", "undefined symbol")}, {"sdpa", "flash"}),
        ({"flash": gpu_facts.LibraryFacts()}, {"sdpa", "te"}),
        ({"torch": change(NODE.torch, usable=False)}, {"sdpa"}),
        ({"torch": change(NODE.torch, capability=(7, 5))}, {"sdpa"}),
        ({"torch": gpu_facts.TorchFacts(None, error="broken")}, set()),
    ],
)
def test_backends_follow_the_libraries_and_the_chip(changes, left):
    assert gpu.available_backends(change(NODE, **changes)) == left


def test_machine_code_runs_within_its_generation_and_ptx_beyond():
    def status(capability, *built):
        torch = change(NODE.torch, capability=capability, architectures=built)
        return one(gpu.judge(change(NODE, torch=torch), "cuda"), "PyTorch and CUDA").status

    assert status((8, 9), "sm_80") is Status.OK
    assert status((9, 0), "sm_80") is Status.MISSING
    assert status((9, 0), "sm_80", "compute_80") is Status.OK
    assert status((8, 0), "sm_86") is Status.MISSING


def test_a_cpu_machine_needs_pytorch_only():
    checks = gpu.judge(
        gpu_facts.GpuFacts(torch=gpu_facts.TorchFacts("2.13.0+cpu"), smi_error="absent"), "cpu"
    )
    assert [check.status for check in checks] == [Status.OK, Status.NOT_APPLICABLE]
    assert failed(gpu.judge(gpu_facts.GpuFacts(torch=gpu_facts.TorchFacts(None, error="no torch")), "cpu"))


def test_nvidia_smi_is_read():
    listing = (
        "NVIDIA H100 80GB HBM3, 580.159.04, 81559, 9.0\nNVIDIA H100 80GB HBM3, 580.159.04, 81559, [N/A]\n"
    )
    assert gpu_facts.parse_devices(listing) == (H100, change(H100, capability=None))
    heading = "| NVIDIA-SMI 580.159.04     Driver Version: 580.159.04     CUDA Version: 13.0     |\n"
    assert gpu_facts.parse_driver_cuda(heading) == "13.0"
    assert gpu_facts.parse_driver_cuda("Driver Version: 580.159.04\n") is None


def test_a_probe_that_crashes_is_a_fact():
    crash = ask([sys.executable, "-c", "import os; os.abort()"], timeout_s=30)
    facts = gpu_facts.torch_facts(crash)
    assert facts.version is None
    assert facts.error


@pytest.mark.parametrize(("machine", "wanted"), [("auto", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_the_user_may_insist_on_a_kind_of_machine(machine, wanted):
    assert machine_kind(machine, gpus_seen=False) == wanted
    assert machine_kind("auto", gpus_seen=True) == "cuda"


# Attention ------------------------------------------------------------------------------------------------------------


def test_each_model_learns_its_backend_and_what_auto_would_take():
    checks = backends.judge({"15M": 80, "44M": 60}, "cuda", {"sdpa", "flash", "te"})
    found = one(checks, "model 15M").found
    assert "sdpa (requested; head_dim 80 as it is); auto would take flash" in found
    assert "not te: another model of the study cannot use it" in found
    assert "auto would take flash (not te: head_dim 60" in one(checks, "model 44M").found
    [alone] = backends.judge({"15M": 80}, "cuda", {"sdpa", "flash", "te"})
    assert "auto would take te" in alone.found
    [fp32] = backends.judge({"15M": 80}, "cuda", {"sdpa", "flash", "te"}, precision="fp32")
    assert "auto" not in fp32.found


def test_a_backend_that_cannot_be_had_is_missing_with_a_fix():
    [check] = backends.judge({"44M": 60}, "cuda", {"sdpa", "te"}, "te")
    assert (check.status, check.fix) == (Status.MISSING, "use 'sdpa', or 'auto' for the fastest that fits")


def test_what_jobs_would_choose_but_cannot_use_is_missing():
    """Jobs look for packages without importing them, so that one that is broken is chosen and fails."""
    [check] = backends.judge({"15M": 80}, "cuda", {"sdpa"}, "auto", installed={"sdpa", "te"})
    assert check.status is Status.MISSING
    assert check.found.startswith("te, since transformer-engine is installed; but it is not usable")
    [sdpa] = backends.judge({"15M": 80}, "cuda", {"sdpa"}, "sdpa", installed={"sdpa", "te"})
    assert sdpa.status is Status.OK


def test_bf16_without_a_gpu_is_a_warning():
    check = one(backends.judge({"15M": 80}, "cpu", {"sdpa"}, precision="bf16"), "precision")
    assert (check.status, check.found) == (Status.WARN, "bf16 trains on CUDA only")
    assert [c.name for c in backends.judge({"15M": 80}, "cpu", {"sdpa"}, precision="fp32")] == ["model 15M"]


# Packages -------------------------------------------------------------------------------------------------------------

INSTALLED = packages.PackageFacts(
    "3.11.7",
    "envs/cpu.txt",
    {"torch": "2.13.0", "numpy": "2.4.6", "pytest": "9.2.0"},
    {"torch": "2.13.0+cpu", "numpy": "2.4.6", "pytest": "9.2.0"},
    frozenset({"torch", "numpy"}),
)


def test_packages_as_in_the_lock_are_well_whatever_their_build():
    assert [check.status for check in packages.judge(INSTALLED)] == [Status.OK, Status.OK]


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({"installed": INSTALLED.installed | {"numpy": None}}, "needed packages", Status.MISSING),
        ({"installed": INSTALLED.installed | {"pytest": None}}, "other packages of the lock", Status.WARN),
        ({"installed": INSTALLED.installed | {"numpy": "2.5.5"}}, "versions", Status.WARN),
        ({"python": "3.14.1"}, "Python", Status.MISSING),
        ({"python": "3.10.4"}, "Python", Status.MISSING),
        ({"lock": None}, "packages", Status.WARN),
    ],
)
def test_a_differing_environment_is_named(changes, name, status):
    assert one(packages.judge(change(INSTALLED, **changes)), name).status is status


def test_the_gpu_lock_is_read_with_the_lock_it_includes():
    pins = packages.read_lock(ROOT / "envs/gpu.txt")
    assert pins["megatron-core"] == "0.16.1"
    assert (
        packages.gather(ROOT / "envs/gpu.txt")
        .pinned.keys()
        .isdisjoint({"triton", "flash-attn", "nvidia-cublas"})
    )


# Data -----------------------------------------------------------------------------------------------------------------


def study_with(tmp_path: Path, **sections):
    study = yaml.safe_load((ROOT / "tests/studies/tiny.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(study | sections))
    return load_study(path)


def test_embedded_text_and_an_own_tokenizer_need_nothing(tmp_path):
    assert {data.judge(fact).status for fact in data.gather(study_with(tmp_path))} == {Status.OK}


def test_local_files_are_looked_for(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.txt").write_text("text")
    study = study_with(
        tmp_path,
        corpora={
            "generic": {"source": "files", "paths": [f"{tmp_path}/*.txt"]},
            "code": {"source": "files", "paths": [f"{tmp_path}/*.txt", f"{tmp_path}/*.jsonl"]},
        },
        tokenizer={"kind": "file", "path": f"{tmp_path}/tokenizer.json", "vocab_size": 300},
    )
    checks = [data.judge(fact) for fact in data.gather(study)]
    assert one(checks, "corpus generic").found.startswith("2 files")
    assert one(checks, "corpus generic").status is Status.OK
    code, tokenizer = one(checks, "corpus code"), one(checks, "tokenizer")
    assert (code.status, code.found) == (Status.MISSING, f"no file matches {tmp_path}/*.jsonl")
    assert (tokenizer.status, tokenizer.found) == (
        Status.MISSING,
        f"no file matches {tmp_path}/tokenizer.json",
    )


def test_a_file_without_permission_is_missing():
    check = data.judge(data.FilesFacts("corpus x", {"*.txt": 2}, unreadable="b.txt"))
    assert (check.status, check.found) == (Status.MISSING, "b.txt: no permission to read")


HUB = data.HubFacts("corpus x", "owner/name", "0" * 40, cached=False, offline=False, connect_error=None)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.OK, "hub reachable"),
        ({"cached": True, "offline": True}, Status.OK, "cached"),
        ({"revision": "PIN_ME"}, Status.MISSING, "PIN_ME"),
        ({"offline": True}, Status.MISSING, "HF_HUB_OFFLINE forbids"),
        ({"connect_error": "refused"}, Status.MISSING, "not cached, hub not reachable (refused)"),
        ({"connect_error": "refused", "cached": True}, Status.WARN, "hub not reachable"),
    ],
)
def test_verdicts_on_a_repository_of_the_hub(changes, status, words):
    check = data.judge(change(HUB, **changes))
    assert check.status is status
    assert words in check.found


def test_an_unreachable_hub_is_found_out_for_real(monkeypatch, tmp_path):
    """A closed port of this machine stands for a network without a way out."""
    for name in ("HTTPS_PROXY", "https_proxy", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    fact = data._hub("corpus x", "owner/name", "0" * 40)
    assert fact.connect_error.startswith("127.0.0.1: ")
    assert not fact.cached
    (tmp_path / "hub/datasets--owner--name/snapshots").mkdir(parents=True)
    assert data._hub("corpus x", "owner/name", "0" * 40).cached
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert data._hub("corpus x", "owner/name", "0" * 40).connect_error is None


# Slurm ----------------------------------------------------------------------------------------------------------------

CLUSTER = slurm.SlurmFacts(
    frozenset((*slurm.COMMANDS, "sacct")),
    Answer(0, "gpu* up 3 gpu:4\ncpu up 9 (null)\n"),
    Answer(0),
    Answer(0),
    "17",
    "2.8.0",
    configured=True,
)
DISABLED = Answer(1, error="Slurm accounting storage is disabled\n")


def test_a_sound_cluster():
    checks = slurm.judge(CLUSTER)
    assert {check.status for check in checks} == {Status.OK}
    assert one(checks, "controller").found == "partitions cpu, gpu; with GPUs: gpu"


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"commands": frozenset({"sinfo"})}, "commands", Status.MISSING, "absent: sbatch, srun"),
        (
            {"squeue": Answer(None, error="squeue gave no answer in 20 s")},
            "controller",
            Status.MISSING,
            "no answer",
        ),
        ({"sinfo": Answer(0, "cpu* up 9 (null)\n")}, "controller", Status.WARN, "with GPUs: none"),
        ({"sacct": DISABLED}, "accounting (slurmdbd)", Status.WARN, "storage is disabled"),
        (
            {"commands": frozenset(slurm.COMMANDS), "sacct": Answer(None)},
            "accounting (slurmdbd)",
            Status.WARN,
            "no sacct",
        ),
        ({"plugin": None}, "snakemake executor", Status.MISSING, "absent"),
    ],
)
def test_what_is_wrong_with_a_cluster_is_named(changes, name, status, words):
    check = one(slurm.judge(change(CLUSTER, **changes)), name)
    assert check.status is status
    assert words in check.found


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (slurm.SlurmFacts(), "no Slurm on this machine"),
        (slurm.SlurmFacts(frozenset(slurm.COMMANDS)), "commands installed, no cluster configured"),
    ],
)
def test_no_cluster_is_nothing_wrong(facts, words):
    [check] = slurm.judge(facts)
    assert (check.status, check.found) == (Status.NOT_APPLICABLE, words)


def test_a_configured_cluster_without_commands_is_no_fault_of_a_local_run():
    [check] = slurm.judge(slurm.SlurmFacts(configured=True))
    assert (check.status, "on PATH" in check.found) == (Status.WARN, True)


def test_a_configured_cluster_that_is_silent_is_missing():
    facts = change(
        CLUSTER, job=None, sinfo=Answer(1, error="sinfo: error: Unable to contact slurm controller")
    )
    check = one(slurm.judge(facts), "controller")
    assert (check.status, "Unable to contact" in check.found) == (Status.MISSING, True)


# Limits and container -------------------------------------------------------------------------------------------------

LIMITS = limits.LimitFacts(4096, None, None, None, 8 << 30, 16)


def test_generous_limits():
    assert {check.status for check in limits.judge(LIMITS, "cuda")} == {Status.OK}


@pytest.mark.parametrize(
    ("changes", "largest", "name", "status"),
    [
        ({"open_files": 256}, None, "open files", Status.WARN),
        ({"processes": 100}, None, "processes", Status.WARN),
        ({"file_bytes": 1 << 20}, None, "file size", Status.WARN),
        ({"file_bytes": 1 << 20}, 1 << 30, "file size", Status.MISSING),
        ({"locked_bytes": 65536}, None, "locked memory", Status.WARN),
        ({"shared_memory": 64 << 20}, None, "shared memory", Status.WARN),
        ({"shared_memory": None}, None, "shared memory", Status.WARN),
    ],
)
def test_tight_limits_are_named(changes, largest, name, status):
    assert one(limits.judge(change(LIMITS, **changes), "cuda", largest_file=largest), name).status is status


def test_this_process_is_read():
    facts = limits.gather()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert facts.open_files == (None if soft == resource.RLIM_INFINITY else soft)
    assert facts.cores == len(os.sched_getaffinity(0))
    assert "locked memory" not in [check.name for check in limits.judge(facts, "cpu")]


@pytest.mark.parametrize(
    ("engine", "image", "status"),
    [
        (None, False, Status.NOT_APPLICABLE),
        (None, True, Status.WARN),
        ("apptainer", False, Status.WARN),
        ("apptainer", True, Status.OK),
    ],
)
def test_verdicts_on_the_container(engine, image, status):
    assert container.judge(container.ContainerFacts(engine, image)).status is status
