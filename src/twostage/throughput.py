"""Measured training speed by model size, from the JSON file of `benchmarks/gpu/run.py`; for bills and walltimes.

Schema 1 of that file, as far as it is read here: `kind` "twostage-gpu-benchmark", `schema` 1, `dry_run`, `machine`
{`device`, `peak_tflops`}, `sizes` [{`size`, `n_params`, `flops_per_token`, `variants` {"ours": {`tokens_per_s`}}}].
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from twostage.architecture import Architecture
from twostage.budget import flops_per_token
from twostage.errors import UserError

KIND, SCHEMA = "twostage-gpu-benchmark", 1
_FIX = "make it on the GPU with: python benchmarks/gpu/run.py --out FILE"


@dataclass(frozen=True)
class Throughput:
    """What one GPU reached.

    Attributes:
        device: name of the GPU.
        points: (non-embedding parameters, model FLOP/s), rising in parameters.
    """

    device: str
    points: tuple[tuple[int, float], ...]

    def flops_per_s(self, n_params: int) -> float:
        """Return the model FLOP/s at a size: log-log linear between measured sizes, that of the nearest beyond them."""
        below = [point for point in self.points if point[0] <= n_params]
        above = [point for point in self.points if point[0] >= n_params]
        if not below or not above:
            return (below or above)[-1 if below else 0][1]
        (low, slow), (high, fast) = below[-1], above[0]
        if low == high:
            return slow
        share = math.log(n_params / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(slow) + share * math.log(fast))

    def tokens_per_s(self, architecture: Architecture) -> float:
        """Return the tokens per second of one GPU that trains such a model alone."""
        return self.flops_per_s(architecture.n_params) / flops_per_token(architecture)


def load_throughput(path: str | Path) -> Throughput:
    """Read a benchmark's file.

    Raises:
        UserError: missing, of another kind or schema, from a dry run, or without a measured size.
    """
    path = Path(path)
    try:
        report = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable benchmark file ({error}); {_FIX}") from None
    if not isinstance(report, dict) or (report.get("kind"), report.get("schema")) != (KIND, SCHEMA):
        raise UserError(f"{path}: not a {KIND} file of schema {SCHEMA}; {_FIX}")
    if report["dry_run"]:
        raise UserError(f"{path}: a dry run on a CPU says nothing about a GPU; {_FIX}")
    points = sorted(
        (row["n_params"], row["flops_per_token"] * row["variants"]["ours"]["tokens_per_s"])
        for row in report["sizes"]
        if "tokens_per_s" in row.get("variants", {}).get("ours", {})
    )
    if not points:
        raise UserError(f"{path}: no size was measured; {_FIX}")
    return Throughput(report["machine"]["device"], tuple(points))
