"""Ranks from srun's variables."""

from __future__ import annotations

import pytest

from twostage.training.launch import ranks_from_slurm

TASK = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "12",
    "SLURM_STEP_ID": "2",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}


def test_a_task_of_several_is_a_rank():
    assert ranks_from_slurm(TASK) == {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "20770",
    }


def test_steps_side_by_side_meet_at_different_ports():
    ports = {
        ranks_from_slurm(TASK | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)})["MASTER_PORT"]
        for job in range(1000, 1020)
        for step in range(4)
    }
    assert len(ports) == 80
    assert all(20_000 <= int(port) < 32_000 for port in ports)


@pytest.mark.parametrize(
    "environ", [{}, TASK | {"SLURM_STEP_NUM_TASKS": "1"}, TASK | {"RANK": "0", "WORLD_SIZE": "2"}]
)
def test_single_tasks_and_named_ranks_are_left_alone(environ):
    assert ranks_from_slurm(environ) == {}
