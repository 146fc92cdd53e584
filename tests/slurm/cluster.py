"""A real Slurm cluster of several nodes on one machine, for the tests: start, kill a node, stop and clean up.

No systemd, no cgroups, no slurmdbd. GPUs are copies of /dev/null, which is enough for Slurm to count them. All files are
in one folder. While the cluster runs, `/etc/slurm` is a link to it; the link is also the lock between test
processes. Each process of the cluster has `TWOSTAGE_TEST_CLUSTER=<folder>` in its environment and is ended by its
id. A guard process does this if the test process dies. Never start a cluster if `packages.refusal()` returns a reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ETC = Path("/etc/slurm")
OWNER = "twostage-test-cluster.json"
MARK = "TWOSTAGE_TEST_CLUSTER"
PATIENCE_S = 300.0

SLURM_CONF = """\
ClusterName=twostage
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job may start again once the old credential has expired.
AuthInfo=socket={root}/munge/socket,cred_expire=15
CryptoType=crypto/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/pid/slurmctld.pid
SlurmdPidFile={root}/pid/slurmd.%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=100000,batch_sched_delay=0
ReturnToService=2
SlurmctldTimeout=60
# On a machine that others keep busy, a living node must not be taken for dead.
SlurmdTimeout=30
KillWait=15
UnkillableStepTimeout=60
MessageTimeout=60
# squeue must know a finished job for longer than snakemake takes to look.
MinJobAge=900
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
NodeName=DEFAULT CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000 Gres=gpu:{gpus} State=UNKNOWN
{nodes}
PartitionName=gpu     Nodes={steady} Default=YES MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=fragile Nodes={last}   Default=NO  MaxTime=INFINITE State=UP PriorityTier=10
PartitionName=lowly   Nodes={last}   Default=NO  MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent  Nodes={last}   Default=NO  MaxTime=INFINITE State=UP PriorityTier=100
"""


class Cluster:
    """One cluster of `nodes` nodes with `gpus` GPUs each; use `start` and `stop`, or as a context manager.

    The last node has separate partitions, for tests that kill it while others run.
    """

    def __init__(self, root: Path, *, nodes: int = 3, gpus: int = 2) -> None:
        self.root, self.gpus = root, gpus
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {**os.environ, MARK: str(root)}
        # Other variables would be passed to every job.
        for name in list(self.environment):
            if name.startswith(("SLURM_", "SBATCH_", "SRUN_")):
                del self.environment[name]

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Life -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Write the configuration, take `/etc/slurm`, start the daemons, wait until all nodes are idle."""
        for name in ("etc", "munge", "state", "log", "pid", "dev", *(f"spool/{node}" for node in self.nodes)):
            (self.root / name).mkdir(parents=True)
        self._configure()
        self._take_etc()
        # A separate session, so that a signal that ends the tests does not end the guard before it has cleaned up.
        self._guard = subprocess.Popen(
            [sys.executable, __file__, "guard", str(self.root), str(os.getpid())], start_new_session=True
        )
        try:
            self._start_munge()
            self._daemon("slurmctld", "-c")
            for node in self.nodes:
                self.start_node(node)
            self.wait(
                lambda: self.node_states() == dict.fromkeys(self.nodes, "idle"), "all nodes to be idle", 60
            )
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that belongs to this cluster and remove what it has made outside its folder."""
        if getattr(self, "_guard", None):
            self._guard.kill()
            self._guard.wait()
        clean_up(self.root)

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-N", node)

    def kill_node(self, node: str) -> list[int]:
        """Kill a node's daemon and all processes of its jobs at once, as in a power cut; return their ids."""
        daemon = int((self.root / f"pid/slurmd.{node}.pid").read_text())
        tasks = [pid for pid in owned(self.root) if environment_of(pid).get("SLURMD_NODENAME") == node]
        steps = step_daemons(tasks)
        for pid in (daemon, *steps, *tasks):
            kill(pid)
        return [daemon, *steps, *tasks]

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until they are gone; nodes that are down are started again."""
        self.run("scancel", "--user=root", check=False)
        for node, state in self.node_states().items():
            if not state.startswith(("idle", "mixed", "allocated", "completing")):
                self.start_node(node)
        self.wait(
            lambda: not self.jobs() and set(self.node_states().values()) == {"idle"},
            "an empty cluster",
        )

    # Questions --------------------------------------------------------------------------------------------------------

    def run(self, *words: str, check: bool = True) -> str:
        """Run a Slurm command; return its output."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)} failed: {done.stderr}")
        return done.stdout

    def node_states(self) -> dict[str, str]:
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T", check=False).split("\n")
        return dict(line.split() for line in lines if line)  # type: ignore[misc]

    def jobs(self, *states: str) -> list[str]:
        """Return ids of jobs that wait or run, or of those in `states`."""
        chosen = ["--states", ",".join(states)] if states else []
        return self.run("squeue", "-h", "-o", "%A", *chosen).split()

    def job(self, job_id: str) -> dict[str, str]:
        """Return what scontrol says about a job, as a mapping."""
        text = self.run("scontrol", "show", "job", "--oneliner", job_id)
        return dict(word.split("=", 1) for word in text.split() if "=" in word)

    def all_jobs(self) -> list[dict[str, str]]:
        """Return all jobs of this cluster, finished ones too, oldest first."""
        text = self.run("scontrol", "show", "job", "--oneliner", "--all", check=False)
        found = [
            dict(word.split("=", 1) for word in line.split() if "=" in word)
            for line in text.splitlines()
            if line.startswith("JobId=")
        ]
        return sorted(found, key=lambda job: int(job["JobId"]))

    @staticmethod
    def wait(truth: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
        """Wait until `truth()` holds and return it."""
        deadline = time.monotonic() + seconds
        while not (found := truth()):
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
            time.sleep(0.2)
        return found

    # Parts ----------------------------------------------------------------------------------------------------------

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        for number in range(self.gpus):
            os.mknod(self.root / f"dev/gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={17821 + number}"
            for number, node in enumerate(self.nodes)
        ]
        text = SLURM_CONF.format(
            host=host,
            root=self.root,
            gpus=self.gpus,
            nodes="\n".join(nodes),
            steady=",".join(self.nodes[:-1]),
            last=self.nodes[-1],
        )
        (self.root / "etc/slurm.conf").write_text(text)
        (self.root / "etc/gres.conf").write_text(
            "".join(
                f"NodeName={node} Name=gpu File={self.root}/dev/gpu[0-{self.gpus - 1}]\n"
                for node in self.nodes
            )
        )
        (self.root / f"etc/{OWNER}").write_text(
            json.dumps({"pid": os.getpid(), "start": start_time(os.getpid())})
        )

    def _take_etc(self) -> None:
        """Make `/etc/slurm` a link to this cluster; wait while another test process has it."""

        def taken() -> bool:
            remove_dead_cluster()
            try:
                ETC.symlink_to(self.root / "etc")
            except FileExistsError:
                return False
            return True

        self.wait(taken, f"{ETC} to be free", 3600)

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        folder.chmod(0o711)
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        self._daemon(
            "munged",
            "--force",
            f"--key-file={folder}/key",
            f"--socket={folder}/socket",
            f"--pid-file={self.root}/pid/munged.pid",
            f"--log-file={self.root}/log/munged.log",
            f"--seed-file={folder}/seed",
        )
        self.wait((folder / "socket").exists, "munged", 30)

    def _daemon(self, *words: str) -> None:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


# Processes by their ids -----------------------------------------------------------------------------------------------


def environment_of(pid: int) -> dict[str, str]:
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(word.decode(errors="replace").split("=", 1) for word in words if b"=" in word)  # type: ignore[misc]


def folder_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return ""


def start_time(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def parent_of(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def owned(root: Path) -> list[int]:
    """Return the ids of all processes that this cluster started, this one excepted.

    They are found by the variable in their environment. A slurmstepd clears its environment and may outlive its task; it is found by
    its working directory, the folder of the daemon's log.
    """
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [
        pid
        for pid in pids
        if pid != os.getpid()
        and (environment_of(pid).get(MARK) == str(root) or folder_of(pid) == f"{root}/log")
    ]


def step_daemons(tasks: list[int]) -> list[int]:
    """Return the slurmstepd above each task; they clear their own environment."""
    return [pid for pid in {parent_of(task) for task in tasks} if name_of(pid) == "slurmstepd"]


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def clean_up(root: Path) -> None:
    """End all processes of the cluster in `root` and remove the link `/etc/slurm`."""
    for _ in range(20):  # a daemon may be starting another process
        left = owned(root)
        if not left:
            break
        for pid in (*step_daemons(left), *left):
            kill(pid)
        time.sleep(0.1)
    if ETC.is_symlink() and ETC.readlink() == root / "etc":
        ETC.unlink()
    for name in ("dev", "munge"):
        shutil.rmtree(root / name, ignore_errors=True)


def remove_dead_cluster() -> None:
    """Clean up after a test process and its guard were killed."""
    owner = ETC / OWNER
    if not ETC.is_symlink() or not owner.is_file():
        return
    made_by = json.loads(owner.read_text())
    if start_time(made_by["pid"]) != made_by["start"]:
        clean_up(ETC.readlink().parent)


def _guard(root: Path, pid: int) -> None:
    born = start_time(pid)
    while start_time(pid) == born:
        time.sleep(1)
    clean_up(root)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _guard(Path(sys.argv[2]), int(sys.argv[3]))
