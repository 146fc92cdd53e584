"""Tests that require a CUDA device; on other machines they are skipped with the reason.

They run in a separate process (`make test-gpu`), because Megatron is prepared for one device per process.
"""

from __future__ import annotations

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if "tests/gpu/" in item.path.as_posix()]
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            build = torch.version.cuda or "none, a CPU build"
            item.add_marker(
                pytest.mark.skip(
                    reason=f"NOT RUN: needs a CUDA device (torch {torch.__version__}, CUDA {build})"
                )
            )


@pytest.fixture(autouse=True)
def _on_cuda():
    from twostage.model import megatron_cpu
    from twostage.model.build import start_process_group

    if megatron_cpu._prepared == "cpu":
        pytest.fail("other tests have prepared Megatron for the CPU in this process; run `make test-gpu`")
    torch.backends.cuda.matmul.allow_tf32 = False
    start_process_group("cuda")
    yield
    torch.use_deterministic_algorithms(False)
    torch.cuda.set_sync_debug_mode("default")
