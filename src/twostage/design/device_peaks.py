"""Dense bf16 peaks of GPUs by name, for the model FLOPs utilisation; an unknown GPU has none rather than a guess."""

from __future__ import annotations

# NVIDIA's data sheets (H100, H200, GH200, B200, A100, L40S), tensor cores without sparsity, TFLOP/s. More specific
# names first: the driver calls an H100 SXM "NVIDIA H100 80GB HBM3".
_PEAKS = (
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("H200 NVL", 835.0),
    ("H200", 989.0),
    ("GH200", 989.0),
    ("B200", 2250.0),
    ("A100", 312.0),
    ("L40S", 362.0),
)


def peak_tflops(device_name: str) -> float | None:
    """Return the peak of a GPU as `torch.cuda.get_device_name` names it, in TFLOP/s; None where it is not known."""
    words = device_name.replace("-", " ")
    return next((peak for name, peak in _PEAKS if f" {name} " in f" {words} "), None)
