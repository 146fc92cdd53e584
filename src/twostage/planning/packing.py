"""How many independent jobs share one GPU: small models leave most of it idle when they run alone.

A pure estimate for profiles; what it gains is measured by `benchmarks/gpu/run.py` (NOT RUN so far). The mechanism is
`cluster/gpu_slots.py`.
"""

from __future__ import annotations

#: Our assumption, NOT MEASURED: a model of this size fills a large GPU alone, and smaller ones need company in proportion.
FILLING_PARAMS = 100_000_000
#: More contexts than this on one GPU cost memory and switching, and save little.
MOST = 4
#: What CUDA, its libraries and nccl take for each process, before any tensor.
CONTEXT_BYTES = 1_200_000_000
#: Share of the memory that is planned with; fragmentation takes the rest.
USABLE = 0.85


def jobs_per_gpu(n_params: int, job_bytes: int, gpu_bytes: int) -> int:
    """Return how many jobs of one model to run side by side, at least 1: a power of two, so that it divides a GPU's units.

    Args:
        n_params: non-embedding parameters of the model.
        job_bytes: peak GPU memory of one job, as its metrics.json gives it.
        gpu_bytes: memory of the GPU.
    """
    by_memory = USABLE * gpu_bytes / (job_bytes + CONTEXT_BYTES)
    wanted = min(FILLING_PARAMS / n_params, by_memory, MOST)
    jobs = 1
    while 2 * jobs <= wanted:
        jobs *= 2
    return jobs
