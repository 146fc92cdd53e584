"""Environment variables of torch.distributed for a job that `srun` has started as several tasks.

Without torchrun between Slurm and the ranks, every rank receives Slurm's signals, and the step ends with the exit code of the
ranks. Requeueing needs both. Variables that are already set, for example by torchrun, are not changed.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Range of MASTER_PORT, below the ephemeral ports of Linux.
_FIRST_PORT, _PORTS = 20_000, 12_000


def ranks_from_slurm(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); empty for a single task.

    The master is the node on which `srun` was called: the first node of the job, which has rank 0. The port depends on the
    ids of job and step, so that concurrent steps on one node use different ports.
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
