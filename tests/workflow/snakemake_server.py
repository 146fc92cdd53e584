"""Runs Snakemake in forks of one process that has imported it, which saves its import of a second or two in each run.

Protocol: one JSON object per line on stdin, {"arguments", "folder", "environment", "output"}; the answer is the exit status.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def run(request: dict[str, Any]) -> None:
    """Run Snakemake in this process; never returns."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    # As in a new `python -m snakemake`: the working directory and PYTHONPATH come before the installed packages.
    sys.path[:0] = [request["folder"], *request["environment"].get("PYTHONPATH", "").split(os.pathsep)]
    sys.argv = ["snakemake", *request["arguments"]]
    from snakemake.cli import main

    status = 1
    try:
        main()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve() -> None:
    """Answer requests until stdin ends."""
    # What every run imports. Nothing of this project: each test has a copy of it.
    import matplotlib  # noqa: F401
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import pydantic  # noqa: F401
    import snakemake.cli
    import snakemake.dag
    import snakemake.workflow  # noqa: F401

    assert not [name for name in sys.modules if "twostage" in name]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
