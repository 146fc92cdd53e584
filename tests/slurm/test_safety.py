"""The rule that protects a machine's own Slurm; these tests require neither Slurm nor root."""

from __future__ import annotations

import json
import os
import subprocess

import cluster
import packages
import pytest


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without Slurm, on which tests run as root in CI; `etc` is its /etc/slurm."""
    etc = tmp_path / "etc-slurm"
    monkeypatch.setattr(packages, "ETC", etc)
    monkeypatch.setattr(cluster, "ETC", etc)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("CI", "true")
    monkeypatch.delenv("TWOSTAGE_SLURM_TESTS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return etc


def test_a_machine_without_slurm_is_free(machine):
    assert packages.refusal() is None


def test_others_than_root_are_refused(machine, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "root" in packages.refusal()


def test_without_the_variable_nothing_is_started(machine, monkeypatch):
    monkeypatch.delenv("CI")
    assert "TWOSTAGE_SLURM_TESTS=1" in packages.refusal()
    monkeypatch.setenv("TWOSTAGE_SLURM_TESTS", "1")
    assert packages.refusal() is None


def test_a_sites_configuration_is_refused(machine):
    machine.mkdir()
    assert "not ours to touch" in packages.refusal()
    machine.rmdir()
    machine.symlink_to("/nowhere")  # a broken link is not a link of the tests
    assert "not ours to touch" in packages.refusal()


def test_a_controller_that_answers_is_refused(machine, tmp_path):
    """A site without /etc/slurm: its nodes ask the controller for their configuration."""
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\nexit 0\n")
    sinfo.chmod(0o755)
    assert packages.refusal() == "sinfo answers: a Slurm runs here"
    sinfo.write_text("#!/bin/sh\nexit 1\n")
    assert packages.refusal() is None


def test_what_a_dead_test_process_left_is_removed_and_nothing_else(machine, tmp_path):
    folder = tmp_path / "dead/etc"
    folder.mkdir(parents=True)
    machine.symlink_to(folder)
    cluster.remove_dead_cluster()
    assert machine.is_symlink()  # without a mark of the tests: not removed
    (folder / cluster.OWNER).write_text(
        json.dumps({"pid": os.getpid(), "start": cluster.start_time(os.getpid())})
    )
    cluster.remove_dead_cluster()
    assert machine.is_symlink()  # its process is running
    assert packages.refusal() is None  # the tests' own
    (folder / cluster.OWNER).write_text(json.dumps({"pid": os.getpid(), "start": "1"}))
    cluster.remove_dead_cluster()
    assert not machine.is_symlink()


@pytest.mark.parametrize("sign", ["its mark", "its folder"])
def test_a_process_of_the_cluster_is_found_and_ended(sign, machine, tmp_path):
    """A slurmstepd clears its environment, so only its working directory shows which cluster it belongs to."""
    (tmp_path / "log").mkdir()
    environment = {cluster.MARK: str(tmp_path)} if sign == "its mark" else {}
    place = tmp_path / "log" if sign == "its folder" else tmp_path
    ours = subprocess.Popen(["/bin/sleep", "600"], env=environment, cwd=place)
    other = subprocess.Popen(["/bin/sleep", "600"], env={cluster.MARK: f"{tmp_path}-2"}, cwd=tmp_path)
    try:
        cluster.Cluster.wait(lambda: cluster.owned(tmp_path) == [ours.pid], "the process to start")
        cluster.clean_up(tmp_path)
        assert ours.wait(10) == -9
        assert other.poll() is None
    finally:
        ours.kill()
        other.kill()
        other.wait()
