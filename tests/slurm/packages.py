"""Installs Debian's Slurm packages for the tests, only on machines without another Slurm: `make slurm-packages`.

`refusal` has the rule for all tests of this folder: root, `CI` or `TWOSTAGE_SLURM_TESTS=1`, no `/etc/slurm`, and no
controller that answers. The packages install an `/etc/slurm` with a commented plugin file. It is removed again, so that
the rule also allows a second run of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from cluster import ETC, OWNER

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
COMMANDS = ("slurmctld", "slurmd", "sbatch", "munged")


def refusal() -> str | None:
    """Return why no Slurm may be started here, or None. A cluster of these tests is not a reason."""
    if os.geteuid() != 0:
        return "a Slurm of our own needs root"
    if not os.environ.get("CI") and os.environ.get("TWOSTAGE_SLURM_TESTS") != "1":
        return "set TWOSTAGE_SLURM_TESTS=1 (or CI) to let the tests start a Slurm of their own"
    if (ETC / OWNER).is_file():
        return None
    if os.path.lexists(ETC):
        return f"{ETC} exists: this machine's Slurm is not ours to touch"
    if shutil.which("sinfo") and subprocess.run(["sinfo"], capture_output=True, check=False).returncode == 0:
        return "sinfo answers: a Slurm runs here"
    return None


def missing() -> list[str]:
    """Return the commands that are not installed."""
    return [command for command in COMMANDS if shutil.which(command) is None]


def install() -> None:
    """Install the packages.

    Raises:
        RuntimeError: a Slurm may not be started here, or apt-get failed; the message is its output's end.
    """
    if not missing():
        return
    if why := refusal():
        raise RuntimeError(why)
    if shutil.which("apt-get") is None:
        raise RuntimeError(f"no apt-get here: install {', '.join(PACKAGES)} by hand")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", "--quiet", *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {words[0]} failed: {(done.stdout + done.stderr)[-500:]}")
    shutil.rmtree(ETC, ignore_errors=True)


if __name__ == "__main__":
    try:
        install()
    except RuntimeError as error:
        sys.exit(f"Slurm packages not installed: {error}")
