"""Measured training speed by model size, from the JSON file of `benchmarks/gpu/run.py`, for GPU-hours and walltimes.

The keys of that file (schema 1) that are read here: `kind` "twostage-gpu-benchmark", `schema` 1, `dry_run`, `precision`,
`machine` {`device`, `peak_tflops`}, `sizes` [{`size`, `n_params`, `flops_per_token`, `variants` {"ours":
{`tokens_per_s`}}}]. Speeds are not extrapolated to another precision or beyond the measured sizes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from twostage.cluster.site import Site
from twostage.common.architecture import Architecture
from twostage.common.attention import Precision
from twostage.common.errors import UserError
from twostage.common.units import format_quantity
from twostage.design.flops import flops_per_token

KIND, SCHEMA = "twostage-gpu-benchmark", 1
_FIX = "create it on the GPU with: python benchmarks/gpu/run.py --out FILE"


@dataclass(frozen=True)
class Throughput:
    """Measured speed of one GPU that trains one model at a time.

    Attributes:
        device: name of the GPU.
        peak_tflops: its dense bf16 peak, TFLOP/s.
        precision: of the training.
        points: (non-embedding parameters, model FLOP/s), smallest model first.
    """

    device: str
    peak_tflops: float
    precision: Precision
    points: tuple[tuple[int, float], ...]

    def gap(self, n_params: int, precision: Precision) -> str | None:
        """Return why the speed at `n_params` in `precision` is unknown, or None if it is known."""
        if precision != self.precision:
            return f"measured in {self.precision}, but the study trains in {precision}"
        low, high = self.points[0][0], self.points[-1][0]
        if low <= n_params <= high:
            return None
        return (
            f"{format_quantity(n_params)} parameters are outside the measured "
            f"{format_quantity(low)} to {format_quantity(high)}"
        )

    def flops_per_s(self, n_params: int) -> float:
        """Return the model FLOP/s at a size.

        Interpolates linearly in log parameters and log FLOP/s between the two nearest measured sizes. FLOP/s, not
        tokens/s, are interpolated because the FLOPs per token also depend on context and vocabulary.

        Raises:
            ValueError: `n_params` is outside the measured sizes.
        """
        below = [point for point in self.points if point[0] <= n_params]
        above = [point for point in self.points if point[0] >= n_params]
        if not below or not above:
            raise ValueError(f"n_params: {self.gap(n_params, self.precision)}")
        (low, slow), (high, fast) = below[-1], above[0]
        if low == high:
            return slow
        share = math.log(n_params / low) / math.log(high / low)
        return math.exp((1 - share) * math.log(slow) + share * math.log(fast))

    def tokens_per_s(self, architecture: Architecture) -> float:
        """Return the tokens per second of one GPU for a model; see `flops_per_s`."""
        return self.flops_per_s(architecture.n_params) / flops_per_token(architecture)


def load_throughput(path: str | Path) -> Throughput:
    """Read a benchmark file.

    Raises:
        UserError: the file is missing, has another kind or schema, lacks a key, is from a dry run, or has no speeds.
    """
    path = Path(path)
    try:
        report = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not a readable benchmark file ({error}); {_FIX}") from None
    if not isinstance(report, dict) or (report.get("kind"), report.get("schema")) != (KIND, SCHEMA):
        raise UserError(f"{path}: not a {KIND} file of schema {SCHEMA}; {_FIX}")
    try:
        if report["dry_run"]:
            raise UserError(f"{path}: is from a dry run on a CPU and has no GPU speeds; {_FIX}")
        machine, precision = report["machine"], report["precision"]
        points = {
            row["n_params"]: row["flops_per_token"] * row["variants"]["ours"]["tokens_per_s"]
            for row in report["sizes"]
            if "tokens_per_s" in row.get("variants", {}).get("ours", {})
        }
        found = Throughput(
            machine["device"], machine["peak_tflops"], precision, tuple(sorted(points.items()))
        )
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing; {_FIX}") from None
    if not found.points:
        raise UserError(f"{path}: no size was measured; {_FIX}")
    return found


def load_site_throughput(site: Site) -> Throughput | None:
    """Read the file in a site's `throughput`; None if the key is not set.

    Raises:
        UserError: as in `load_throughput`, or the measured GPU's peak differs from the site's `gpu_tflops`. GPUs with
            the same peak (H100 and H200) are not distinguished.
    """
    if site.throughput is None:
        return None
    found = load_throughput(site.throughput)
    if found.peak_tflops != site.gpu_tflops:
        raise UserError(
            f"site.throughput: {site.throughput} was measured on a {found.device} (peak {found.peak_tflops:g} TFLOP/s), "
            f"but site.gpu_tflops is {site.gpu_tflops:g}; measure on a GPU of this site, or correct gpu_tflops"
        )
    return found
