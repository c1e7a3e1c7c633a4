# ruff: noqa: E501
"""Sweeps through Hydra's launchers: one folder, one table, whatever becomes of the jobs."""

import os
import signal
import subprocess
import sys
import time

import pytest
from plugin.test_main import main

from harness.evaluation.store import Store

SMALL = ("tasks=[ioi]", "limit=12", "results.dir=r", "runtime.device=cpu", "runtime.threads=1")
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"),
    "ray": ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2", "+hydra.launcher.ray.init.include_dashboard=false"),
}  # fmt: skip


@pytest.mark.parametrize("launcher", [pytest.param(n, marks=pytest.mark.slow) for n in LAUNCHERS])
def test_jobs_share_a_folder_and_a_table(tmp_path, launcher):
    """Two jobs pass, one cannot work: its mistake is named, and the table of the others is printed."""
    done = main(tmp_path, "-m", "variants=[base],[oproj_zeroed]", "seed=1,2", *LAUNCHERS[launcher], *SMALL)
    assert done.returncode == 0, done.stderr + done.stdout
    names = {(r.name.model, r.name.variant) for r in Store(tmp_path / "r")}
    assert names == {(f"lab-base@seed={s}", v) for s in (1, 2) for v in ("base", "oproj_zeroed")}
    assert "4 jobs passed" in done.stdout
    assert done.stdout.count("written: ") == 1
    assert "oproj_zeroed" in (tmp_path / "r" / "table.md").read_text()
    # The same sweep again runs nothing.
    if launcher == "basic":
        before = {r.name: r.finished for r in Store(tmp_path / "r")}
        done = main(tmp_path, "-m", "variants=[base],[oproj_zeroed]", "seed=1,2", *LAUNCHERS[launcher], *SMALL)
        assert {r.name: r.finished for r in Store(tmp_path / "r")} == before


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_a_job_that_cannot_work_leaves_the_others(tmp_path, launcher):
    done = main(tmp_path, "-m", "variants=[base],[nothing],[oproj_zeroed]", *LAUNCHERS[launcher], *SMALL)
    assert done.returncode == 1
    assert "unknown variant 'nothing'" in done.stderr
    assert "3 jobs, 1 did not pass" in done.stdout
    assert {r.name.variant for r in Store(tmp_path / "r")} == {"base", "oproj_zeroed"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_a_killed_job_shows_as_failed_and_the_next_sweep_mends_it(tmp_path, launcher):
    # Texts of destroyed models never stop: each of these cells takes seconds.
    cells = ["variants=[base],[oproj_zeroed],[mlp_zeroed]", *SMALL, "tasks=[lab_gsm8k]", "limit=60"]
    arguments = ["-m", *cells, *LAUNCHERS[launcher]]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    running = subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    limit, victims = time.monotonic() + 120, []
    while not victims and time.monotonic() < limit:
        logs = (tmp_path / "r" / "logs").glob("job-*.log")
        victims = [int(log.name.split("-")[1]) for log in logs if "_zeroed/lab_gsm8k: documents" in log.read_text()]
        time.sleep(0.02)
    os.kill(victims[0], signal.SIGKILL)
    out, _ = running.communicate(timeout=300)
    assert running.returncode == 1, out
    assert "did not pass" in out
    # joblib gives up on all jobs when one is killed; there may be no cell to make a table of.
    page = tmp_path / "r" / "table.md"
    assert "failed" in (page.read_text() if page.exists() else out), out
    done = main(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in (tmp_path / "r" / "table.md").read_text()
    assert len(list(Store(tmp_path / "r"))) == 3
