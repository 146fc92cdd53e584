"""GPU-hours and dollars of planned training, from measured speeds if available, else from an assumed utilisation.

Assumes that each GPU trains one job at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from twostage.common.attention import Precision
from twostage.design.flops import SECONDS_PER_HOUR, Machine
from twostage.planning.plan import Work
from twostage.planning.throughput import Throughput


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Training speed and price of GPUs.

    Attributes:
        machine: price, and the assumed speed for sizes without a measurement.
        precision: of the study.
        measured: measured speeds by model size, or None.
    """

    machine: Machine
    precision: Precision
    measured: Throughput | None = None

    def gpu_hours(self, work: Work) -> float:
        """Return the GPU-hours of `work`."""
        return sum(self._hours(n_params, flops) for n_params, flops in work.flops_by_n.items())

    def cost(self, work: Work) -> float:
        """Return the price of `work` in USD."""
        return self.gpu_hours(work) * self.machine.price

    def gaps(self, work: Work) -> list[str]:
        """Return a message for each size without a measured speed, smallest first; empty if `measured` is None."""
        if not self.measured:
            return []
        found = {
            n_params: self.measured.gap(n_params, self.precision) for n_params in sorted(work.flops_by_n)
        }
        return [f"N = {n_params:,}: {gap}" for n_params, gap in found.items() if gap]

    def __str__(self) -> str:
        assumed = f"{self.machine.tflops:.0f} model TFLOP/s"
        price = f"{self.machine.price:g} USD per GPU-hour"
        if not self.measured:
            return f"at {assumed} and {price}"
        return f"at tokens/s measured on a {self.measured.device} (*: not measured, at {assumed}) and {price}"

    def _hours(self, n_params: int, flops: int) -> float:
        if self.measured is None or self.measured.gap(n_params, self.precision):
            return self.machine.gpu_hours(flops)
        return flops / self.measured.flops_per_s(n_params) / SECONDS_PER_HOUR
