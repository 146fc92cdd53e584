"""Commands that messages advise. They work when they are pasted: with the study, and with a profile that sets the cores."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

#: Set by the workflow for its jobs: the command that runs this study, up to the targets.
VARIABLE = "TWOSTAGE_SNAKEMAKE"


def remake(*paths: str | Path) -> str:
    """Return the command that makes files of a study again.

    Outside the workflow, the study file is taken to be `config/<study>.yaml`, with the study's name from the path.
    """
    command = os.environ.get(VARIABLE)
    if command is None:
        parts = Path(paths[0]).parts
        study = parts[parts.index("results") + 1] if "results" in parts[:-2] else None
        command = "snakemake --profile profiles/local" + (
            f" --config study=config/{study}.yaml" if study else ""
        )
    return f"{command} -f {' '.join(shlex.quote(str(path)) for path in paths)}"
