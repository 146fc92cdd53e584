"""Hours and dollars of planned work: by measured speed where a benchmark has it, else by an assumed utilisation.

Pure functions of `plan.Work`. A GPU trains one job alone here; what sharing it gains (`packing.py`) is not billed.
"""

from __future__ import annotations

from dataclasses import dataclass

from twostage.design.flops import SECONDS_PER_HOUR, Machine
from twostage.planning.plan import Work
from twostage.planning.throughput import Throughput
from twostage.study.attention import Precision


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast GPUs train, and what they cost.

    Attributes:
        machine: the price, and the speed of what is not measured.
        precision: the study's.
        measured: speeds by size; None where nothing is measured.
    """

    machine: Machine
    precision: Precision
    measured: Throughput | None = None

    def gpu_hours(self, work: Work) -> float:
        """Return GPU-hours."""
        return sum(self._hours(n_params, flops) for n_params, flops in work.flops_by_n.items())

    def cost(self, work: Work) -> float:
        """Return USD."""
        return self.gpu_hours(work) * self.machine.price

    def gaps(self, work: Work) -> list[str]:
        """Return a sentence for each size without a measured speed, smallest first; none where nothing is measured."""
        if not self.measured:
            return []
        found = {
            n_params: self.measured.gap(n_params, self.precision) for n_params in sorted(work.flops_by_n)
        }
        return [f"N = {n_params:,}: {gap}" for n_params, gap in found.items() if gap]

    def __str__(self) -> str:
        assumed = f"{self.machine.tflops:.0f} model TFLOP/s"
        price = f"{self.machine.price:g} USD an hour of a GPU"
        if not self.measured:
            return f"at {assumed} and {price}"
        return f"at tokens/s measured on a {self.measured.device} (*: not measured, at {assumed}) and {price}"

    def _hours(self, n_params: int, flops: int) -> float:
        if self.measured is None or self.measured.gap(n_params, self.precision):
            return self.machine.gpu_hours(flops)
        return flops / self.measured.flops_per_s(n_params) / SECONDS_PER_HOUR
