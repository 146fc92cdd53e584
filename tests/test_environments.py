"""The lock files, the installer and the container recipes agree with each other and with megatron-core's requirements."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from twostage.doctor.container import IMAGE
from twostage.doctor.gpu import FLASH_RANGE
from twostage.doctor.gpu_facts import megatron_te_range
from twostage.doctor.packages import read_lock

ROOT = Path(__file__).parents[1]
ENVS = ROOT / "envs"
#: Packages whose version in the GPU lock differs from the CPU lock intentionally, with the reason. None so far.
DIFFERENT_ON_PURPOSE: dict[str, str] = {}
RECIPES = ("Containerfile", "gpu.Containerfile", "twostage.def")


def lines(lock: str) -> list[str]:
    return [line for line in (ENVS / lock).read_text().splitlines() if line and not line.startswith("#")]


def own_pins(lock: str) -> dict[str, str]:
    """The pins of the file itself, without those it includes."""
    pairs = [line.split("==") for line in lines(lock) if not line.startswith("-r ")]
    names = [canonicalize_name(name) for name, _ in pairs]
    assert len(set(names)) == len(names), f"{lock} pins a package twice"
    return {name: pin for name, (_, pin) in zip(names, pairs, strict=True)}


@pytest.mark.parametrize("lock", ["cpu.txt", "docs.txt", "gpu.txt"])
def test_every_line_is_an_exact_pin(lock):
    for line in lines(lock):
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][A-Za-z0-9.]*|-r cpu\.txt", line), line


def test_gpu_lock_begins_with_torch_and_includes_the_cpu_lock():
    assert lines("gpu.txt")[0].startswith("torch==")
    assert "-r cpu.txt" in lines("gpu.txt")


def test_shared_pins_are_equal():
    cpu, gpu = own_pins("cpu.txt"), own_pins("gpu.txt")
    differing = {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]}
    assert differing == set(DIFFERENT_ON_PURPOSE)
    assert read_lock(ENVS / "gpu.txt") == cpu | gpu


def test_transformer_engine_is_within_what_megatron_declares():
    declared = [Requirement(line) for line in requires("megatron-core") or []]
    [engine] = [requirement for requirement in declared if requirement.name == "transformer-engine"]
    assert 'extra == "dev"' in str(engine.marker)
    pins = own_pins("gpu.txt")
    for name in ("transformer-engine", "transformer-engine-cu13", "transformer-engine-torch"):
        assert pins[name] in engine.specifier, name
        assert pins[name] == pins["transformer-engine"], "its three parts are one release"
    # Megatron and torch's libraries use the same CUDA version.
    assert engine.extras >= {"core_cu13", "pytorch"}
    assert pins["cuda-toolkit"].startswith("13.")
    assert megatron_te_range() == str(engine.specifier)


def test_flash_attention_is_one_that_transformer_engine_accepts():
    assert Version(own_pins("gpu.txt")["flash-attn"]) in FLASH_RANGE
    assert Version("2.8.3.post2") not in FLASH_RANGE


def test_gpu_lock_says_that_it_was_never_installed():
    assert "RESOLVED, NEVER INSTALLED" in (ENVS / "gpu.txt").read_text()


# Installer and recipes: linted, NOT RUN -------------------------------------------------------------------------------


def test_installer_is_valid_bash_and_takes_every_pin_once():
    script = ENVS / "install-gpu.sh"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    from_source = re.search(r"^from_source='(.+)'$", script.read_text(), re.MULTILINE)
    last = [line for line in lines("gpu.txt") if re.match(from_source[1], line)]
    assert [canonicalize_name(line.split("==")[0]) for line in last] == [
        "flash-attn",
        "transformer-engine-torch",
    ]


def test_installer_refuses_a_machine_without_compiler(tmp_path):
    target = tmp_path / "venv"
    done = subprocess.run(
        ["bash", ENVS / "install-gpu.sh", target],
        env=os.environ | {"CUDA_HOME": str(tmp_path / "no-cuda")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no nvcc" in done.stderr
    assert not target.exists()


def test_installer_refuses_a_torch_without_cuda(tmp_path):
    """With a compiler and a pip that does nothing, the CPU build of torch in this environment is refused."""
    nvcc, python = tmp_path / "cuda/bin/nvcc", tmp_path / "venv/bin/python"
    for program, text in (
        (nvcc, "#!/bin/sh\n"),
        (python, f'#!/bin/sh\n[ "$1" = -m ] && exit 0\nexec "{os.sys.executable}" "$@"\n'),
    ):
        program.parent.mkdir(parents=True)
        program.write_text(text)
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", ENVS / "install-gpu.sh", tmp_path / "venv"],
        env=os.environ | {"CUDA_HOME": str(tmp_path / "cuda")},
        capture_output=True,
        text=True,
        check=False,
    )
    import torch

    if (torch.version.cuda or "").startswith("13."):
        assert done.returncode == 0
    else:
        assert done.returncode == 2
        assert "this lock needs CUDA 13" in done.stderr


def copied(recipe: str) -> list[Path]:
    """Return the files that a recipe copies: Containerfiles from their context envs/, Apptainer from the root."""
    text = (ENVS / recipe).read_text()
    if recipe.endswith(".def"):
        section = text.split("%files\n")[1].split("\n%")[0]
        return [ROOT / line.split()[0] for line in section.splitlines() if line.strip()]
    copies = re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)
    return [ENVS / name for line in copies for name in line.split()]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_copy_files_that_exist_and_install_the_locks(recipe):
    files = copied(recipe)
    assert files
    assert all(path.is_file() for path in files), files
    text = (ENVS / recipe).read_text()
    # Files that are run or read in the image must be copied first.
    used = set(re.findall(r"/opt/twostage/([\w.-]+)", text.replace("COPY", "")))
    assert used - {""} <= {path.name for path in files}
    assert "NOT RUN" in text
    wanted = {"cpu.txt"} if recipe == "Containerfile" else {"cpu.txt", "gpu.txt", "install-gpu.sh"}
    assert {path.name for path in files} == wanted


def test_gpu_image_and_apptainer_recipe_are_the_same_environment():
    container, apptainer = ((ENVS / name).read_text() for name in ("gpu.Containerfile", "twostage.def"))
    base = re.search(r"^FROM docker\.io/(\S+)$", container, re.MULTILINE)[1]
    assert re.search(r"^From: (\S+)$", apptainer, re.MULTILINE)[1] == base
    assert re.search(r"cuda:13\.", base)
    packages = [
        re.search(r"no-install-recommends ([a-z0-9 -]+)", text)[1].split() for text in (container, apptainer)
    ]
    assert packages[0] == packages[1]


def test_the_snakefile_names_the_image_that_the_recipe_makes():
    assert f'container: "{IMAGE}"' in (ROOT / "Snakefile").read_text()
    assert f"apptainer build {IMAGE} envs/twostage.def" in (ENVS / "twostage.def").read_text()
