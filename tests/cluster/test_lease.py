"""Leases: one owner at a time; dead owners are replaced, live ones are waited for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from twostage.cluster.lease import Lease, LeaseLostError

_OWNER = """
import sys, time
from twostage.cluster.lease import Lease
with Lease(sys.argv[1]):
    print("owned", flush=True)
    time.sleep(600)
"""


def lease(folder, **options):
    return Lease(folder, **{"poll_s": 0.02, "heartbeat_s": 0.05, "stale_s": 0.4} | options)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("lease-*.json"))


def move_abroad(folder: Path) -> None:
    """Make the newest lease look like one of another machine, which can be judged only by its heartbeat."""
    path = folder / files(folder)[-1]
    owner = json.loads(path.read_text()) | {"host": "elsewhere"}
    temporary = folder / "edited"
    temporary.write_text(json.dumps(owner))
    temporary.replace(path)


class Waiter(threading.Thread):
    """Takes the lease in another thread and holds it until told otherwise."""

    def __init__(self, folder, **options):
        super().__init__(daemon=True)
        self.waited_for = []
        self.owned, self.release = threading.Event(), threading.Event()
        self.lease = lease(folder, on_wait=self.waited_for.append, **options)
        self.start()

    def run(self):
        with self.lease:
            self.owned.set()
            self.release.wait(60)


@pytest.fixture
def owner(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "owned\n"
    yield process
    process.kill()
    process.wait()


def test_a_lease_is_released_and_taken_again(tmp_path):
    for _ in range(2):
        with lease(tmp_path) as mine:
            mine.check()
            assert files(tmp_path) == ["lease-1.json"]
        assert files(tmp_path) == []


def test_a_lease_is_released_when_the_job_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), lease(tmp_path):
        1 / 0  # noqa: B018
    assert files(tmp_path) == []


def test_a_live_owner_is_waited_for(tmp_path, owner):
    waiter = Waiter(tmp_path)
    assert not waiter.owned.wait(
        1.0
    )  # more than twice the stale limit, so its process must have been looked at
    assert [seen["pid"] for seen in waiter.waited_for] == [owner.pid]
    owner.kill()
    assert waiter.owned.wait(10)
    waiter.lease.check()
    waiter.release.set()
    waiter.join(10)
    assert files(tmp_path) == []


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_a_killed_owner_of_this_machine_is_replaced_at_once(tmp_path, owner, reaped):
    owner.send_signal(signal.SIGKILL)
    if reaped:
        assert owner.wait() == -signal.SIGKILL
    assert files(tmp_path) == ["lease-1.json"]
    # The stale limit is an hour: only the look at the process can tell.
    waiter = Waiter(tmp_path, stale_s=3600)
    assert waiter.owned.wait(10)
    assert files(tmp_path) == ["lease-1.json", "lease-2.json"]
    waiter.release.set()
    waiter.join(10)
    assert files(tmp_path) == []


def test_a_reused_process_id_does_not_keep_a_lease_alive(tmp_path):
    with lease(tmp_path):
        path = tmp_path / "lease-1.json"
        content = json.loads(path.read_text())
        assert content["pid"] == os.getpid()
    path.write_text(json.dumps(content | {"start_time": "1"}))
    waiter = Waiter(tmp_path, stale_s=3600)
    assert waiter.owned.wait(10)
    waiter.release.set()
    waiter.join(10)


def test_a_foreign_lease_with_a_heartbeat_is_waited_for(tmp_path):
    holder = Waiter(tmp_path)
    assert holder.owned.wait(10)
    move_abroad(tmp_path)
    waiter = Waiter(tmp_path)
    assert not waiter.owned.wait(1.5)  # almost four times the stale limit
    assert [seen["host"] for seen in waiter.waited_for] == ["elsewhere"]
    holder.release.set()
    assert waiter.owned.wait(10)
    waiter.release.set()
    waiter.join(10)


def test_a_foreign_lease_without_heartbeat_is_replaced_after_the_stale_limit(tmp_path):
    silent = lease(tmp_path, heartbeat_s=3600)
    silent.__enter__()
    move_abroad(tmp_path)
    started = time.monotonic()
    waiter = Waiter(tmp_path, stale_s=0.5)
    assert waiter.owned.wait(10)
    assert time.monotonic() - started >= 0.5
    waiter.release.set()
    waiter.join(10)


def test_an_owner_that_was_wrongly_thought_dead_stops_and_leaves_the_new_one_alone(tmp_path):
    mine = lease(tmp_path, heartbeat_s=3600)
    with mine:
        move_abroad(tmp_path)
        mine.check()
        waiter = Waiter(tmp_path)
        assert waiter.owned.wait(10)
        with pytest.raises(LeaseLostError, match="another process has taken over this job"):
            mine.check()
    waiter.lease.check()
    assert files(tmp_path)[-1] == "lease-2.json"
    waiter.release.set()
    waiter.join(10)
    assert files(tmp_path) == []


def test_an_owner_thought_dead_leaves_a_third_one_alone_whose_lease_has_its_number(tmp_path):
    with lease(tmp_path) as mine:
        move_abroad(tmp_path)
        mine._stop.set()  # as a process that hangs: no heartbeat
        second = Waiter(tmp_path)
        assert second.owned.wait(10)
        second.release.set()
        second.join(10)
        third = Waiter(tmp_path)
        assert third.owned.wait(10)
        assert files(tmp_path) == ["lease-1.json"]
        with pytest.raises(LeaseLostError):
            mine.check()
    third.lease.check()
    third.release.set()
    third.join(10)
    assert files(tmp_path) == []


def test_many_at_once_own_one_after_another(tmp_path):
    inside, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal inside, most
        with lease(tmp_path, poll_s=0.001):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert most == 1
    assert files(tmp_path) == []
