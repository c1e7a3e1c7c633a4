"""Devices are shared out by lock: no two workers on one while another is free, whoever died."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from harness.workers import lease, slots, visible_devices

WORKER = """
import sys
from harness.workers import lease_for
import os
held = lease_for("auto", int(sys.argv[1]))
assert "torch" not in sys.modules, "leased before anything could touch CUDA"
print(os.environ["CUDA_VISIBLE_DEVICES"], held.level, flush=True)
sys.stdin.read()
"""


class Worker:
    """A process that leases, says what it got, and holds it until its input ends."""

    def __init__(self, folder, devices, per_worker=1):
        environ = {**os.environ, "CUDA_VISIBLE_DEVICES": devices, "TMPDIR": str(folder)}
        command = [sys.executable, "-c", WORKER, str(per_worker)]
        self.process = subprocess.Popen(
            command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._said = None

    @property
    def said(self):
        if self._said is None:
            self._said = self.process.stdout.readline().split()
            assert self._said, self.process.stderr.read()
        return self._said

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def workers():
    started = []
    yield started
    for worker in started:
        worker.kill()


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_workers_that_start_together_share_no_device_and_crashed_ones_give_theirs_back(n, tmp_path, workers):
    devices = ",".join(str(7 - i) for i in range(n))
    workers += [Worker(tmp_path, devices) for _ in range(n)]
    assert sorted(w.said[0] for w in workers) == sorted(devices.split(","))
    # A worker is killed and another one takes its place, many times over.
    for i in range(min(n, 3)):
        dead = workers[i]
        dead.kill()
        workers[i] = Worker(tmp_path, devices)
        assert workers[i].said == dead.said
    assert sorted(w.said[0] for w in workers) == sorted(devices.split(","))


def test_more_workers_than_devices_spread_evenly(tmp_path, workers):
    for _ in range(5):
        workers.append(Worker(tmp_path, "0,1"))
        assert workers[-1].said
    held = Counter(w.said[0] for w in workers)
    assert sorted(held.values()) == [2, 3]
    assert [int(w.said[1]) for w in workers] == [0, 0, 1, 1, 2]


def test_several_devices_for_each_worker(tmp_path, workers):
    workers += [Worker(tmp_path, "4,5,6,7,8", per_worker=2) for _ in range(2)]
    assert sorted(w.said[0] for w in workers) == ["4,5", "6,7"]
    # A session that wants single devices finds the one that no group needed.
    workers.append(Worker(tmp_path, "4,5,6,7,8"))
    assert workers[-1].said[0] == "8"


def test_a_lease_can_be_let_go(tmp_path):
    groups = slots(["0", "1"], 1)
    first, second = lease(groups, tmp_path), lease(groups, tmp_path)
    assert (first.devices, second.devices) == (("0",), ("1",))
    first.release()
    assert lease(groups, tmp_path).devices == ("0",)


def test_devices_are_those_of_the_caller():
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "3,GPU-1f, MIG-7/2"}) == ["3", "GPU-1f", "MIG-7/2"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "2,-1,3"}) == ["2"]
    for none in ("", "-1"):
        assert visible_devices({"CUDA_VISIBLE_DEVICES": none}) == []


def test_devices_of_the_machine_are_counted_without_cuda(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho '  MIG 1g'\necho 'GPU 1: B (UUID: GPU-2)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_devices({}) == ["0", "1"]


@pytest.mark.parametrize(("devices", "per_worker"), [([], 1), (["0"], 2), (["0", "1"], 0)])
def test_too_many_for_a_worker_is_an_error_that_names_them(devices, per_worker):
    with pytest.raises(ValueError, match=rf"runtime.gpus_per_worker={per_worker}: {len(devices)} devices are visible"):
        slots(devices, per_worker)
