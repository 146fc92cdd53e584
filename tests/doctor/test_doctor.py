"""The doctor's checks on given facts: working and broken GPU nodes, packages, data, Slurm, limits."""

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
    Verdict,
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


def test_only_warn_and_missing_have_a_fix():
    with pytest.raises(ValueError, match="set `fix` for warn and missing"):
        Check("g", "n", "bad", Verdict.MISSING)
    with pytest.raises(ValueError, match="set `fix` for warn and missing"):
        Check("g", "n", "good", Verdict.OK, "do something")


def test_only_missing_fails():
    ok, warn = Check("g", "n", "f", Verdict.OK), Check("g", "n", "f", Verdict.WARN, "x")
    absent = Check("g", "n", "f", Verdict.NOT_APPLICABLE)
    assert not failed([ok, warn, absent])
    assert failed([ok, Check("g", "n", "f", Verdict.MISSING, "x")])


def test_absent_failing_and_hanging_programs_give_an_answer():
    assert (
        ask(["no-such-program-here"], timeout_s=5).complaint
        == "no-such-program-here: No such file or directory"
    )
    assert "no answer in 0.2 s" in ask(["sleep", "20"], timeout_s=0.2).complaint
    broken = ask(["sh", "-c", "echo bad >&2; exit 3"], timeout_s=5)
    assert (broken.code, broken.complaint) == (3, "bad")
    assert human_bytes(3 << 30) == "3.0 GiB"


# GPUs -----------------------------------------------------------------------------------------------------------------


def test_a_working_gpu_node_passes_every_check():
    checks = gpu.judge(NODE, "cuda")
    assert {check.status for check in checks} == {Verdict.OK}
    assert "2 x NVIDIA H100 80GB HBM3, 80 GiB, driver 580.159.04 (CUDA 13.0)" in one(checks, "GPU").found
    assert gpu.available_backends(NODE) == {"sdpa", "flash", "te"}


@pytest.mark.parametrize(
    ("facts", "name", "status", "words"),
    [
        (
            change(NODE, devices=(), smi_error="No devices were found"),
            "GPU",
            Verdict.MISSING,
            "No devices were found",
        ),
        (
            change(NODE, devices=(H100, change(H100, name="A100"))),
            "GPU",
            Verdict.WARN,
            "A100 and NVIDIA H100",
        ),
        (change(NODE, devices=(change(H100, capability=(7, 0)),)), "GPU", Verdict.WARN, "H100"),
        (
            change(NODE, driver_cuda="12.4"),
            "PyTorch and CUDA",
            Verdict.MISSING,
            "the driver supports up to CUDA 12.4",
        ),
        (
            change(NODE, torch=gpu_facts.TorchFacts("2.13.0+cpu")),
            "PyTorch and CUDA",
            Verdict.MISSING,
            "is a CPU build",
        ),
        (
            change(NODE, torch=gpu_facts.TorchFacts(None, error="ImportError: libcudart.so.13")),
            "PyTorch and CUDA",
            Verdict.MISSING,
            "libcudart.so.13",
        ),
        (
            change(NODE, torch=change(NODE.torch, architectures=("sm_100",))),
            "PyTorch and CUDA",
            Verdict.MISSING,
            "this GPU is sm_90",
        ),
        (
            change(NODE, torch=change(NODE.torch, usable=False, error="CUDA initialization failed")),
            "GPU from PyTorch",
            Verdict.MISSING,
            "CUDA initialization failed",
        ),
        (
            change(NODE, torch=change(NODE.torch, devices=1)),
            "GPU from PyTorch",
            Verdict.WARN,
            "nvidia-smi lists 2",
        ),
        (change(NODE, torch=change(NODE.torch, nccl=None)), "nccl", Verdict.MISSING, "not reported"),
        (
            change(NODE, te=gpu_facts.LibraryFacts("2.20.2")),
            "transformer-engine",
            Verdict.WARN,
            "outside megatron-core's range",
        ),
        (
            change(NODE, te=gpu_facts.LibraryFacts("2.11.0", "undefined symbol")),
            "transformer-engine",
            Verdict.WARN,
            "symbol",
        ),
        (change(NODE, te=gpu_facts.LibraryFacts()), "transformer-engine", Verdict.WARN, "absent"),
        (
            change(NODE, flash=gpu_facts.LibraryFacts("2.8.3.post2")),
            "flash-attn",
            Verdict.WARN,
            "uses <=2.8.3,>=2.1.1 only",
        ),
        (
            change(NODE, flash=gpu_facts.LibraryFacts("2.8.3", "undefined symbol")),
            "flash-attn",
            Verdict.WARN,
            "symbol",
        ),
        (change(NODE, flash=gpu_facts.LibraryFacts()), "flash-attn", Verdict.WARN, "absent"),
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


def test_machine_code_needs_the_same_generation_and_ptx_runs_on_later_ones():
    def status(capability, *built):
        torch = change(NODE.torch, capability=capability, architectures=built)
        return one(gpu.judge(change(NODE, torch=torch), "cuda"), "PyTorch and CUDA").status

    assert status((8, 9), "sm_80") is Verdict.OK
    assert status((9, 0), "sm_80") is Verdict.MISSING
    assert status((9, 0), "sm_80", "compute_80") is Verdict.OK
    assert status((8, 0), "sm_86") is Verdict.MISSING


def test_a_cpu_machine_needs_pytorch_only():
    checks = gpu.judge(
        gpu_facts.GpuFacts(torch=gpu_facts.TorchFacts("2.13.0+cpu"), smi_error="absent"), "cpu"
    )
    assert [check.status for check in checks] == [Verdict.OK, Verdict.NOT_APPLICABLE]
    assert failed(gpu.judge(gpu_facts.GpuFacts(torch=gpu_facts.TorchFacts(None, error="no torch")), "cpu"))


def test_nvidia_smi_is_read():
    listing = (
        "NVIDIA H100 80GB HBM3, 580.159.04, 81559, 9.0\nNVIDIA H100 80GB HBM3, 580.159.04, 81559, [N/A]\n"
    )
    assert gpu_facts.parse_devices(listing) == (H100, change(H100, capability=None))
    heading = "| NVIDIA-SMI 580.159.04     Driver Version: 580.159.04     CUDA Version: 13.0     |\n"
    assert gpu_facts.parse_driver_cuda(heading) == "13.0"
    assert gpu_facts.parse_driver_cuda("Driver Version: 580.159.04\n") is None


def test_a_crash_of_the_probe_is_reported():
    crash = ask([sys.executable, "-c", "import os; os.abort()"], timeout_s=30)
    facts = gpu_facts.torch_facts(crash)
    assert facts.version is None
    assert facts.error


@pytest.mark.parametrize(("machine", "wanted"), [("auto", "cpu"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_the_user_can_set_the_kind_of_machine(machine, wanted):
    assert machine_kind(machine, gpus_seen=False) == wanted
    assert machine_kind("auto", gpus_seen=True) == "cuda"


# Attention ------------------------------------------------------------------------------------------------------------


def test_each_model_has_its_backend_and_the_choice_of_auto():
    checks = backends.judge({"15M": 80, "44M": 60}, "cuda", {"sdpa", "flash", "te"})
    found = one(checks, "model 15M").found
    assert "sdpa (requested; head_dim 80 without padding); auto would choose flash" in found
    assert "not te: another model of the study cannot use it" in found
    assert "auto would choose flash (not te: head_dim 60" in one(checks, "model 44M").found
    [alone] = backends.judge({"15M": 80}, "cuda", {"sdpa", "flash", "te"})
    assert "auto would choose te" in alone.found
    [fp32] = backends.judge({"15M": 80}, "cuda", {"sdpa", "flash", "te"}, precision="fp32")
    assert "auto" not in fp32.found


def test_an_unavailable_backend_is_missing_with_a_fix():
    [check] = backends.judge({"44M": 60}, "cuda", {"sdpa", "te"}, "te")
    assert (check.status, check.fix) == (
        Verdict.MISSING,
        "use 'sdpa', or 'auto' for the fastest one that works",
    )


def test_an_installed_backend_that_does_not_work_is_missing():
    """Jobs look for packages without importing them, so they would choose a broken one and fail."""
    [check] = backends.judge({"15M": 80}, "cuda", {"sdpa"}, "auto", installed={"sdpa", "te"})
    assert check.status is Verdict.MISSING
    assert check.found.startswith("te, because transformer-engine is installed, but it does not work here")
    [sdpa] = backends.judge({"15M": 80}, "cuda", {"sdpa"}, "sdpa", installed={"sdpa", "te"})
    assert sdpa.status is Verdict.OK


def test_bf16_without_a_gpu_is_a_warning():
    check = one(backends.judge({"15M": 80}, "cpu", {"sdpa"}, precision="bf16"), "precision")
    assert (check.status, check.found) == (Verdict.WARN, "bf16 trains on CUDA only")
    assert [c.name for c in backends.judge({"15M": 80}, "cpu", {"sdpa"}, precision="fp32")] == ["model 15M"]


# Packages -------------------------------------------------------------------------------------------------------------

INSTALLED = packages.PackageFacts(
    "3.11.7",
    "envs/cpu.txt",
    {"torch": "2.13.0", "numpy": "2.4.6", "pytest": "9.2.0"},
    {"torch": "2.13.0+cpu", "numpy": "2.4.6", "pytest": "9.2.0"},
    frozenset({"torch", "numpy"}),
)


def test_packages_with_the_locked_versions_pass_whatever_their_build():
    assert [check.status for check in packages.judge(INSTALLED)] == [Verdict.OK, Verdict.OK]


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({"installed": INSTALLED.installed | {"numpy": None}}, "needed packages", Verdict.MISSING),
        ({"installed": INSTALLED.installed | {"pytest": None}}, "other packages of the lock", Verdict.WARN),
        ({"installed": INSTALLED.installed | {"numpy": "2.5.5"}}, "versions", Verdict.WARN),
        ({"python": "3.13.1"}, "Python", Verdict.MISSING),
        ({"python": "3.10.4"}, "Python", Verdict.MISSING),
        ({"lock": None}, "packages", Verdict.WARN),
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


def test_embedded_text_and_a_trained_tokenizer_need_no_files(tmp_path):
    assert {data.judge(fact).status for fact in data.gather(study_with(tmp_path))} == {Verdict.OK}


def test_local_files_are_searched(tmp_path):
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
    assert one(checks, "corpus generic").status is Verdict.OK
    code, tokenizer = one(checks, "corpus code"), one(checks, "tokenizer")
    assert code.status is tokenizer.status is Verdict.MISSING
    assert code.found.startswith(f"'{tmp_path}/*.jsonl' matches no file")
    assert tokenizer.found.startswith(f"'{tmp_path}/tokenizer.json' does not exist")


def test_a_file_without_permission_is_missing():
    check = data.judge(
        data.FilesFacts("corpus x", 2, "b.txt: no permission to read; correct its permissions")
    )
    assert (check.status, check.found) == (Verdict.MISSING, "b.txt: no permission to read")
    assert check.fix == "correct its permissions"


def test_the_files_in_folders_are_counted_and_looped_links_end(tmp_path):
    for number in range(60):
        (tmp_path / "in/sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"in/sub/{number}.txt").write_text("text")
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/sub/up2").symlink_to(tmp_path / "in")
    (tmp_path / "gone/x").mkdir(parents=True)
    (tmp_path / "gone/x/a.txt").symlink_to(tmp_path / "not fetched")
    study = study_with(
        tmp_path,
        corpora={
            "generic": {"source": "files", "paths": [f"{tmp_path}/in"], "suffixes": [".txt"]},
            "code": {"source": "files", "paths": [f"{tmp_path}/in"]},
            "glob": {"source": "files", "paths": [f"{tmp_path}/in/**/*.txt"]},
            "gone": {"source": "files", "paths": [f"{tmp_path}/gone"], "suffixes": [".txt"]},
        },
    )
    checks = [data.judge(fact) for fact in data.gather(study)]
    assert one(checks, "corpus generic").found == "60 files, readable"
    assert one(checks, "corpus glob").found == "60 files, readable"
    assert one(checks, "corpus code").fix == "most of its files end in .txt: set suffixes: [.txt]"
    assert "a.txt: a link without a target" in one(checks, "corpus gone").found


HUB = data.HubFacts("corpus x", "owner/name", "0" * 40, cached=False, offline=False, connect_error=None)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Verdict.OK, "hub reachable"),
        ({"cached": True, "offline": True}, Verdict.OK, "cached"),
        ({"revision": "PIN_ME"}, Verdict.MISSING, "PIN_ME"),
        ({"offline": True}, Verdict.MISSING, "HF_HUB_OFFLINE forbids"),
        ({"connect_error": "refused"}, Verdict.MISSING, "not cached, hub not reachable (refused)"),
        ({"connect_error": "refused", "cached": True}, Verdict.WARN, "hub not reachable"),
    ],
)
def test_verdicts_on_a_repository_of_the_hub(changes, status, words):
    check = data.judge(change(HUB, **changes))
    assert check.status is status
    assert words in check.found


def test_an_unreachable_hub_is_detected(monkeypatch, tmp_path):
    """A closed port of this machine simulates a network without access to the hub."""
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


def test_a_working_cluster_passes_every_check():
    checks = slurm.judge(CLUSTER)
    assert {check.status for check in checks} == {Verdict.OK}
    assert one(checks, "controller").found == "partitions cpu, gpu; with GPUs: gpu"


@pytest.mark.parametrize(
    ("changes", "name", "status", "words"),
    [
        ({"commands": frozenset({"sinfo"})}, "commands", Verdict.MISSING, "absent: sbatch, srun"),
        (
            {"squeue": Answer(None, error="squeue gave no answer in 20 s")},
            "controller",
            Verdict.MISSING,
            "no answer",
        ),
        ({"sinfo": Answer(0, "cpu* up 9 (null)\n")}, "controller", Verdict.WARN, "with GPUs: none"),
        ({"sacct": DISABLED}, "accounting (slurmdbd)", Verdict.WARN, "storage is disabled"),
        (
            {"commands": frozenset(slurm.COMMANDS), "sacct": Answer(None)},
            "accounting (slurmdbd)",
            Verdict.WARN,
            "no sacct",
        ),
        ({"plugin": None}, "snakemake executor", Verdict.MISSING, "absent"),
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
def test_a_machine_without_slurm_is_not_an_error(facts, words):
    [check] = slurm.judge(facts)
    assert (check.status, check.found) == (Verdict.NOT_APPLICABLE, words)


def test_a_configured_cluster_without_commands_is_a_warning():
    [check] = slurm.judge(slurm.SlurmFacts(configured=True))
    assert (check.status, "on PATH" in check.found) == (Verdict.WARN, True)


def test_a_configured_cluster_that_does_not_answer_is_missing():
    facts = change(
        CLUSTER, job=None, sinfo=Answer(1, error="sinfo: error: Unable to contact slurm controller")
    )
    check = one(slurm.judge(facts), "controller")
    assert (check.status, "Unable to contact" in check.found) == (Verdict.MISSING, True)


# Limits and container -------------------------------------------------------------------------------------------------

LIMITS = limits.LimitFacts(4096, None, None, None, 8 << 30, 16)


def test_generous_limits():
    assert {check.status for check in limits.judge(LIMITS, "cuda")} == {Verdict.OK}


@pytest.mark.parametrize(
    ("changes", "largest", "name", "status"),
    [
        ({"open_files": 256}, None, "open files", Verdict.WARN),
        ({"processes": 100}, None, "processes", Verdict.WARN),
        ({"file_bytes": 1 << 20}, None, "file size", Verdict.WARN),
        ({"file_bytes": 1 << 20}, 1 << 30, "file size", Verdict.MISSING),
        ({"locked_bytes": 65536}, None, "locked memory", Verdict.WARN),
        ({"shared_memory": 64 << 20}, None, "shared memory", Verdict.WARN),
        ({"shared_memory": None}, None, "shared memory", Verdict.WARN),
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
        (None, False, Verdict.NOT_APPLICABLE),
        (None, True, Verdict.WARN),
        ("apptainer", False, Verdict.WARN),
        ("apptainer", True, Verdict.OK),
    ],
)
def test_verdicts_on_the_container(engine, image, status):
    assert container.judge(container.ContainerFacts(engine, image)).status is status
