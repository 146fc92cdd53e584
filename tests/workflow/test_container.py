"""Jobs in a container: the image must exist before any job starts, and jobs use its Python instead of the host's."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.workflow

CONTAINED = ("--profile", "profiles/local", "--software-deployment-method", "apptainer", "--")
TARGET = "results/tiny/corpora/generic/manifest.json"
# Replaces the container engine: records its arguments and runs the command on the host.
STAND_IN = """#!/bin/bash
case "$1" in
  --version) echo "apptainer version 1.4.0" ;;
  exec) printf '%s\\n' "$@" >> "$(dirname "$0")/asked"; "${@: -3:1}" -c "${@: -1}" ;;
esac
"""


@pytest.fixture
def project(pristine, tmp_path):
    """A working copy with a small corpus."""
    shutil.copytree(pristine.root, tmp_path / "repository")
    copy = type(pristine)(tmp_path / "repository")
    copy.edit_study("config/tiny.yaml", lambda study: study["corpora"]["generic"].update(max_bytes=200_000))
    return copy


def test_a_missing_image_stops_the_run_before_any_job(project):
    done = project.snakemake(*CONTAINED, TARGET, check=False)
    assert done.returncode == 1
    assert "envs/twostage.sif: the image for jobs is missing" in done.stdout
    assert "apptainer build envs/twostage.sif envs/twostage.def" in done.stdout
    assert not (project.root / "results/tiny").exists()


def test_jobs_in_a_container_use_the_image_s_python(project, tmp_path, monkeypatch):
    (project.root / "envs").mkdir()
    (project.root / "envs/twostage.sif").write_text("")
    engine = tmp_path / "bin/apptainer"
    engine.parent.mkdir()
    engine.write_text(STAND_IN)
    engine.chmod(0o755)
    # The "image" is this environment; the first folder on PATH is the one that the image would provide.
    monkeypatch.setenv("PATH", f"{engine.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    project.snakemake(*CONTAINED, TARGET)
    assert (project.root / TARGET).is_file()
    asked = (engine.parent / "asked").read_text()
    assert "envs/twostage.sif" in asked
    assert "prepare_corpus.py" in asked
    assert f"export PYTHONPATH={project.root / 'src'} " in asked
    assert "export PATH=" not in asked
