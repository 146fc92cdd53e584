"""Which optional dependencies each extra of the package installs, and the message that names a missing one.

The base set (`pip install twostage`) has none of these modules. A test keeps `EXTRAS` equal to pyproject.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from twostage.common.errors import UserError

#: Extra -> top-level modules of its distributions. A module of several extras is named with the first one.
EXTRAS = {
    "train": (
        "google",  # protobuf
        "megatron",
        "psutil",
        "pyarrow",
        "safetensors",
        "sentencepiece",
        "tokenizers",
        "torch",
        "zstandard",
    ),
    "workflow": ("snakemake", "snakemake_interface_logger_plugins"),
    "slurm": ("snakemake_executor_plugin_slurm",),
    "hub": ("datasets", "huggingface_hub"),
    "downstream": ("accelerate", "datasets", "lm_eval", "transformers"),
    "gpu": ("flash_attn", "transformer_engine"),
}


@contextmanager
def missing_extras_named() -> Iterator[None]:
    """Turn the failed import of an optional dependency into an error that says how to install it.

    Raises:
        UserError: a module of `EXTRAS` was imported and is not installed. Other failed imports are raised as they are.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        # `megatron.core` as a module, `megatron-core` where `importlib.metadata` looked for the distribution.
        module = re.split(r"\.|-core", str(error.name))[0]
        for extra, modules in EXTRAS.items():
            if module in modules:
                raise UserError(f"{module} is not installed: pip install 'twostage[{extra}]'") from error
        raise
