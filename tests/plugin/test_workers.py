"""Sessions with several workers: who helps, who dies, what is left."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from plugin.test_sessions import pytest_run

from harness.config.paths import SUITES
from harness.evaluation.store import Store

CPU = ("--set", "runtime.device=cpu", "--set", "runtime.threads=1")

# Loaded into every worker: kills it when it starts on a certain variant, so many times.
KILLER = """
import os, signal
from pathlib import Path

def pytest_runtest_setup(item):
    from harness.evaluation import work
    if hasattr(work, "killing"):
        return
    plain, work.killing = work.run_part, True
    deaths = Path(os.environ["KILLED"])
    def run_part(cell, part, plans):
        if cell.name.variant == "oproj_zeroed" and len(list(deaths.iterdir())) < int(os.environ["KILLS"]):
            (deaths / str(os.getpid())).touch()
            import logging
            logging.getLogger("harness").info("about to die of %s", cell.name)
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(cell, part, plans)
    work.run_part = run_part
"""


SLOWLY = """
import time

def pytest_runtest_setup(item):
    from harness.evaluation import work
    if not hasattr(work, "slowly"):
        plain, work.slowly = work.run_part, True
        work.run_part = lambda *given: (time.sleep(12), plain(*given))[1]
"""


def outcomes(folder):
    """Without the last digits, which depend on what shares a batch."""

    def judged(o):
        return o.document, o.response, {k: round(v, 3) for k, v in o.metrics.items()}

    store = Store(folder)
    return {str(r.name): [judged(o) for o in store.outcomes(r.name)] for r in store}


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The undisturbed results of two variants."""
    folder = tmp_path_factory.mktemp("calm")
    done = pytest_run(
        folder, "--tasks", "ioi", "--limit", "40", "--variants", "base,oproj_zeroed,mlp_zeroed", *CPU, "--results", "r"
    )
    assert done.returncode == 0, done.stdout
    return outcomes(folder / "r"), (folder / "r" / "table.csv").read_text()


@pytest.mark.slow
def test_one_cell_keeps_all_workers_busy(tmp_path, calm):
    # Parts that take a while, so that the first worker is not done before the others have started.
    (tmp_path / "slowly.py").write_text(SLOWLY)
    done = pytest_run(
        tmp_path,
        "-p",
        "slowly",
        "--tasks",
        "ioi",
        "--limit",
        "40",
        "--variants",
        "base",
        *CPU,
        "--results",
        "r",
        "-n",
        "3",
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout
    assert "1 cells run, 0 stored already" in done.stdout
    assert re.search(r"HELPED lab-base/base/ioi: \d+ documents", done.stdout)
    shares = {
        p.name: re.findall(r"(?m)^[\d-]+ \S+ INFO .*documents (\d+) to (\d+)", p.read_text())
        for p in (tmp_path / "r" / "logs").glob("gw*")
    }
    covered = sorted(d for own in shares.values() for a, b in own for d in range(int(a), int(b)))
    assert covered == list(range(40)), "each document once"
    assert sum(bool(own) for own in shares.values()) >= 2
    assert outcomes(tmp_path / "r")["lab-base/base/ioi"] == calm[0]["lab-base/base/ioi"]
    assert not list((tmp_path / "r" / ".sessions").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 99])
def test_a_cell_that_kills_its_worker(tmp_path, calm, kills):
    (tmp_path / "killer.py").write_text(KILLER)
    (tmp_path / "deaths").mkdir()
    environment = {"PYTHONPATH": str(tmp_path), "KILLED": str(tmp_path / "deaths"), "KILLS": str(kills)}
    done = pytest_run(
        tmp_path, "-p", "killer", "--tasks", "ioi", "--limit", "40", "--variants", "base,oproj_zeroed,mlp_zeroed",
        *CPU, "--results", "r", "-n", "2", env=environment,
    )  # fmt: skip
    assert "WORKER DIED" in done.stdout
    results = outcomes(tmp_path / "r")
    if kills == 1:
        assert done.returncode == 0, done.stdout
        assert results == calm[0]
        assert (tmp_path / "r" / "table.csv").read_text().count("\n") == calm[1].count("\n")
        return
    assert done.returncode == 1
    assert len(list((tmp_path / "deaths").iterdir())) == 2, "not tried a third time"
    assert results == {k: v for k, v in calm[0].items() if "oproj_zeroed" not in k}
    assert "1 failed, 2 passed" in done.stdout
    assert "about to die of lab-base/oproj_zeroed/ioi" in done.stdout, "the last words of the dead"
    page = (tmp_path / "r" / "table.md").read_text()
    assert re.search(r"\| `oproj_zeroed` \|.*\| failed \|", page)
    assert "✗ lab-base/oproj_zeroed/ioi failed" in page


@pytest.mark.slow
def test_a_controller_that_is_killed_leaves_what_was_finished(tmp_path, calm):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUITES), "--tasks", "ioi", "--limit", "40"]
    command += ["--variants", "base,oproj_zeroed,mlp_zeroed", *CPU, "--results", "r", "-n", "2"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    running = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    cells = tmp_path / "r" / "cells"
    limit = time.monotonic() + 120
    while not list(cells.rglob("*.json")) and time.monotonic() < limit:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = pytest_run(tmp_path, *command[5:])
    assert done.returncode == 0, done.stdout
    assert outcomes(tmp_path / "r") == calm[0]


@pytest.mark.slow
def test_auto_takes_a_worker_a_device_and_each_leases_its_own(tmp_path):
    environment = {"CUDA_VISIBLE_DEVICES": "5,3,GPU-7", "TMPDIR": str(tmp_path)}
    arguments = ("--tasks", "ioi", "--limit", "8", "--variants", "base,oproj_zeroed", "--results", "r", "-n", "auto")
    done = pytest_run(tmp_path, *arguments, env=environment)
    assert done.returncode == 0, done.stdout
    logs = [p.read_text() for p in (tmp_path / "r" / "logs").glob("gw*.log")]
    assert sorted(re.search(r"leased device (\d)", log)[1] for log in logs) == ["3", "5"]
    assert "[2 workers]" in done.stdout or "2 workers" in done.stdout or "created: 2/2" in done.stdout, done.stdout[
        :500
    ]


@pytest.mark.slow
def test_too_few_devices_for_a_worker_fail_at_collection(tmp_path):
    arguments = ("--tasks", "ioi", "--results", "r", "-n", "2", "--set", "runtime.gpus_per_worker=4")
    done = pytest_run(tmp_path, *arguments, env={"CUDA_VISIBLE_DEVICES": "0,1"})
    assert done.returncode != 0
    assert "runtime.gpus_per_worker=4: 2 devices are visible (0, 1)" in done.stdout + done.stderr


@pytest.mark.slow
def test_what_k_leaves_is_what_helpers_see(tmp_path):
    arguments = (
        "--tasks",
        "ioi",
        "--limit",
        "16",
        "--variants",
        "base,oproj_zeroed",
        *CPU,
        "--results",
        "r",
        "-n",
        "2",
    )
    done = pytest_run(tmp_path, *arguments, "-k", "base-base")
    assert done.returncode == 0, done.stdout
    assert list(outcomes(tmp_path / "r")) == ["lab-base/base/ioi"]
