"""Claims as cases of real sessions on the lab."""

import json

import pytest
from plugin.test_sessions import pytest_run

MERGES = "sfn_merge_oproj_reasons,sfn_merge_oproj_not_others"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    limits = ("--tasks", "lab_gsm8k,lab_math", "--limit", "40", "--model", "lab", "--results", "r", "-v")
    return folder, limits, pytest_run(folder, "--claims", MERGES, *limits)


def test_a_claim_runs_what_it_needs_and_its_verdict_is_the_outcome(finished):
    folder, _, done = finished
    assert "::test_claims[sfn_merge_oproj_reasons-lab] SKIPPED unresolved (" in done.stdout
    assert "::test_claims[sfn_merge_oproj_not_others-lab] FAILED contradicted: " in done.stdout
    assert done.returncode == 1
    assert "1 failed, 8 passed, 1 skipped" in done.stdout
    order = [line for line in done.stdout.splitlines() if "suites/" in line and "::" in line]
    assert "test_claims" not in order[0]
    page = (folder / "r" / "table.md").read_text()
    assert "## Claims" in page
    assert "✗ contradicted" in page
    claims = json.loads((folder / "r" / "table.json").read_text())["claims"]
    assert [c["verdict"] for c in claims] == ["unresolved", "contradicted"]


def test_alone_they_read_the_store(finished):
    folder, limits, _ = finished
    before = {p: p.stat().st_mtime_ns for p in (folder / "r" / "cells").rglob("*.json")}
    done = pytest_run(folder, "-k", "test_claims", "--claims", MERGES, *limits)
    assert "1 failed, 1 skipped" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in (folder / "r" / "cells").rglob("*.json")}


def test_a_dry_run_says_what_would_be_claimed(finished):
    folder, limits, _ = finished
    done = pytest_run(folder, "--claims", MERGES, *limits[:-1], "--dry-run")
    assert "claim sfn_merge_oproj_reasons: The reasoner's o_proj in the base" in done.stdout


def test_what_the_run_does_not_have_is_said(tmp_path):
    options = ("--claims", MERGES, "--model", "lab", "--variants", "base,qkv_merged", "--tasks", "lab_gsm8k")
    done = pytest_run(tmp_path, *options, "--limit", "4", "--results", "r", "-v")
    assert done.returncode == 0, done.stdout
    why = "this run leaves out lab/oproj_merged/lab_gsm8k, lab/oproj_merged/lab_math, lab/base/lab_math, and r has not"
    before, _, after = done.stdout.partition("PASSED exact_match")
    assert f"claim sfn_merge_oproj_reasons, lab, will not be measured: {why} stored them" in before
    assert f"SKIPPED not measured: {why}" in after
    assert "2 passed, 2 skipped" in done.stdout
    claims = json.loads((tmp_path / "r" / "table.json").read_text())["claims"]
    assert [c["verdict"] for c in claims] == ["not measured", "not measured"]


def test_unknown_claims_stop_the_session_early(tmp_path):
    done = pytest_run(tmp_path, "--claims", "sfn_merge_oproj")
    assert done.returncode == 4
    assert "unknown claim 'sfn_merge_oproj'. Did you mean" in done.stderr
