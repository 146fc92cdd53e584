"""Dense bf16 peak FLOP/s of GPUs by name, to compute the model FLOPs utilisation."""

from __future__ import annotations

# In TFLOP/s, tensor cores without sparsity, from NVIDIA's data sheets (H100, H200, GH200, B200, A100, L40S). More
# specific names come first: the driver's name of an H100 SXM is "NVIDIA H100 80GB HBM3".
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
    """Return the peak of a GPU in TFLOP/s by its name from `torch.cuda.get_device_name`, or None if it is unknown."""
    words = device_name.replace("-", " ")
    return next((peak for name, peak in _PEAKS if f" {name} " in f" {words} "), None)
