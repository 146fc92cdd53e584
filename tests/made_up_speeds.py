"""A file of synthetic GPU speeds in the format of `benchmarks/gpu/run.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def size(n_params: int, flops_per_s: float, flops_per_token: int = 10) -> dict[str, Any]:
    """One measured size."""
    return {
        "size": str(n_params),
        "n_params": n_params,
        "flops_per_token": flops_per_token,
        "variants": {"ours": {"tokens_per_s": flops_per_s / flops_per_token}},
    }


def write_speeds(path: Path, sizes: list[dict[str, Any]], **changes: Any) -> Path:
    """Write the file; returns its path."""
    report = {
        "kind": "twostage-gpu-benchmark",
        "schema": 1,
        "dry_run": False,
        "precision": "bf16",
        "machine": {"device": "made-up GPU", "peak_tflops": 10.0},
        "sizes": sizes,
    }
    path.write_text(json.dumps(report | changes))
    return path
