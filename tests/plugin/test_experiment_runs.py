"""Experiments through their two doors: pytest sessions and ``python -m harness``."""

import pytest
from test_main import main
from test_sessions import pytest_run

from harness.evaluation.judged import load

PART = (
    "limit=24", "tasks=[lab_gsm8k]", "levels.prompts=4", "levels.documents=24", "runtime.device=cpu", "results.dir=r",
)  # fmt: skip


@pytest.mark.slow
def test_workers_run_an_experiment_and_its_levels(tmp_path):
    sets = [text for override in PART for text in ("--set", override)]
    done = pytest_run(
        tmp_path, "--set", "experiment=sfn_merge", "--model", "lab", "--variants", "base,mlp_merged", *sets, "-n", "2"
    )
    assert done.returncode == 0, done.stdout
    assert "levels of lab, lab_gsm8k: mlp_merged: " in done.stdout
    assert "2 passed" in done.stdout
    judged = load(tmp_path / "r" / "levels" / "lab" / "lab_gsm8k.json")
    assert [len(v.documents) for v in judged.variants.values()] == [24, 24]
    page = (tmp_path / "r" / "experiment.md").read_text()
    assert "6 of 30, p = 0.254" in page
    assert "experiment.md" in done.stdout


@pytest.mark.slow
def test_levels_that_cannot_be_judged_fail_the_session(tmp_path):
    done = pytest_run(
        tmp_path, "--tasks", "lab_arc", "--limit", "4", "--set", "levels.tasks=[lab_arc]", "--set", "runtime.device=cpu"
    )
    assert done.returncode == 1, done.stdout
    assert "error: levels of lab-base, lab_arc: lab_arc has no generated answers" in done.stdout


@pytest.mark.slow
def test_the_delta_suite_writes_its_table(tmp_path):
    done = pytest_run(tmp_path, "--set", "experiment=sfn_delta", "--model", "lab", "--results", "r", "-v")
    assert done.returncode == 0, done.stdout
    assert "test_delta[lab] PASSED" in done.stdout
    assert "1 passed" in done.stdout
    folder = tmp_path / "r" / "delta" / "lab"
    assert {p.suffix for p in folder.iterdir()} == {".md", ".json", ".png", ".svg"}
    assert "no table" not in done.stdout


@pytest.mark.slow
def test_the_delta_suite_says_what_it_cannot_compare(tmp_path):
    done = pytest_run(
        tmp_path, "--set", "delta={other: nowhere}", "--model", "lab", "--tasks", "lab_arc", "--limit", "2"
    )
    assert done.returncode == 1, done.stdout
    assert "unknown model 'nowhere'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_harness_runs_the_same_experiment(tmp_path):
    done = main(tmp_path, "experiment=sfn_destroy", "model=lab", "variants=[base,v_zeroed,oproj_zeroed]", *PART)
    assert done.returncode == 0, done.stderr + done.stdout
    # Zero v and zero o are one model where o has no bias: so are their answers.
    judged = load(tmp_path / "r" / "levels" / "lab" / "lab_gsm8k.json")
    v, o = judged.variants["v_zeroed(layers=1:3)"], judged.variants["oproj_zeroed(layers=1:3)"]
    assert v.documents == o.documents
    assert "Zero v" in (tmp_path / "r" / "experiment.md").read_text()


@pytest.mark.slow
def test_a_sweep_judges_when_its_last_job_has_ended(tmp_path):
    done = main(tmp_path, "-m", "model=lab", "variants=[base],[qkv_merged]", "levels.tasks=[lab_gsm8k]", *PART)
    assert done.returncode == 0, done.stderr + done.stdout
    judged = load(tmp_path / "r" / "levels" / "lab" / "lab_gsm8k.json")
    assert set(judged.variants) == {"base", "qkv_merged"}
    assert (tmp_path / "r" / "levels.md").is_file()
