"""Ranks of a job that `srun` has started as several tasks, named the way torch.distributed expects them.

No agent stands between Slurm and the ranks: signals reach each of them, and the step ends with their own exit code,
which is what requeueing needs. Ranks that torchrun (or anybody else) has named already are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Ports for the meeting point of ranks: above the registered services, below Linux's ephemeral range.
_FIRST_PORT, _PORTS = 20_000, 12_000


def ranks_from_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); none for a single task.

    The meeting point is the node that `srun` was called on, which is the first of the job and has rank 0. The port
    follows from job and step, so that steps side by side on one node do not meet.
    """
    tasks = environ.get("SLURM_STEP_NUM_TASKS", "1")
    if "RANK" in environ or int(tasks) == 1:
        return {}
    step = 64 * int(environ["SLURM_JOB_ID"]) + int(environ["SLURM_STEP_ID"])
    return {
        "RANK": environ["SLURM_PROCID"],
        "WORLD_SIZE": tasks,
        "LOCAL_RANK": environ["SLURM_LOCALID"],
        "MASTER_ADDR": environ["SLURM_LAUNCH_NODE_IPADDR"],
        "MASTER_PORT": str(_FIRST_PORT + step % _PORTS),
    }
