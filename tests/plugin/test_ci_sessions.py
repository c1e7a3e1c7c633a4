"""What CI needs of a session: scores in JUnit's file, a summary, an exit status that knows what was lost."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
from plugin.test_sessions import pytest_run

LIMITS = ("--tasks", "lab_arc", "--limit", "60")


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    """The same variant before and after somebody changed it."""
    folder = tmp_path_factory.mktemp("ci")
    mine = folder / "conf" / "variant" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("method: base\n")
    options = ("--variants", "base,mine", *LIMITS)
    before = pytest_run(folder, *options, "--results", "before", "--junitxml", "before.xml")
    mine.write_text("method: destroy\nmode: zero\nparts: [o_proj]\n")
    summary = {"GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    told = ("--results", "after", "--baseline", "before", "--junitxml", "after.xml")
    after = pytest_run(folder, *options, *told, env=summary)
    return folder, before, after


def test_scores_stand_in_junits_file(sessions):
    folder, before, _ = sessions
    assert before.returncode == 0, before.stdout
    cases = list(ElementTree.parse(folder / "before.xml").getroot().iter("testcase"))
    found = [{p.get("name"): p.get("value") for p in case.iter("property")} for case in cases]
    assert {(p["variant"], p["task"], p["model"]) for p in found} == {
        (v, "lab_arc", "lab-base") for v in ("base", "mine")
    }
    for properties in found:
        assert properties["metric"] == "acc,none"
        low, score, high = (float(properties[k]) for k in ("score_low", "score", "score_high"))
        assert 0 < low < score < high < 1
        assert (float(properties["n"]), float(properties["chance"])) == (60, 0.25)


def test_a_resolved_loss_fails_the_session(sessions):
    _, _, after = sessions
    assert after.returncode == 1
    assert "1 failed, 2 passed" in after.stdout
    assert "baseline::lab-base/mine/lab_arc - regressed against" in after.stdout
    assert "another patch than then: lab-base/mine" in after.stdout
    assert "regressed against before: lab-base/mine/lab_arc" in after.stdout
    assert "1 cell of 2 regressed at all" in after.stdout


def test_a_regression_is_a_case_in_junits_file(sessions):
    folder, _, _ = sessions
    suite = next(ElementTree.parse(folder / "after.xml").getroot().iter("testsuite"))
    assert (suite.get("failures"), suite.get("tests")) == ("1", "3")
    (case,) = [case for case in suite.iter("testcase") if case.find("failure") is not None]
    assert (case.get("classname"), case.get("name")) == ("baseline", "lab-base/mine/lab_arc")
    assert "regressed against before: lab-base/mine/lab_arc: " in case.find("failure").text


def test_workers_have_it_too(sessions):
    folder, _, _ = sessions
    options = (
        "--variants",
        "base,mine",
        *LIMITS,
        "--results",
        "after",
        "--baseline",
        "before",
        "--junitxml",
        "two.xml",
    )
    done = pytest_run(folder, *options, "-n", "2", "-v")
    assert done.returncode == 1, done.stdout
    assert "baseline::lab-base/mine/lab_arc - regressed against" in done.stdout
    suite = next(ElementTree.parse(folder / "two.xml").getroot().iter("testsuite"))
    assert suite.get("failures") == "1"


def test_the_summary_tells_what_was_lost_first(sessions):
    folder, _, _ = sessions
    text = (folder / "summary.md").read_text()
    assert text.startswith("## Against before")
    assert "▼ lab-base/mine/lab_arc" in text
    assert "## Results" in text


def test_what_is_within_the_margin_passes(sessions):
    folder, _, _ = sessions
    options = ("--variants", "base,mine", *LIMITS, "--results", "after", "--baseline", "before", "--margin", "0.95")
    done = pytest_run(folder, *options)
    assert done.returncode == 0, done.stdout
    assert "0 cells of 2 regressed by more than 95 points" in done.stdout


@pytest.mark.parametrize(("options", "message"), [
    (("--baseline", "nowhere"), "results.baseline=nowhere: no results folder"),
    (("--baseline", "./before", "--results", "before"), "is the folder of this run itself"),
    (("--baseline", "before", "--margin", "-1"), "results.margin=-1.0: the loss that is allowed"),
])  # fmt: skip
def test_a_baseline_that_is_none_stops_early(sessions, options, message):
    done = pytest_run(sessions[0], *LIMITS, "--results", "x", *options)
    assert done.returncode == 4
    assert message in done.stderr


def test_quick_cells_are_chosen_by_a_marker(sessions):
    options = ("--tasks", "lab,arc_easy", "-m", "quick", "--collect-only", "-q", "--results", "x")
    done = pytest_run(sessions[0], *options)
    shown = sorted(line.split("::")[1] for line in done.stdout.splitlines() if "::test_" in line)
    tasks = ("test_arc_easy", "test_ioi", "test_lab_arc", "test_lab_mmlu")
    assert shown == [f"{task}[lab-base-base]" for task in tasks]


def test_a_sweep_is_compared_and_judged_as_a_whole(sessions):
    folder, _, _ = sessions
    command = [sys.executable, "-m", "harness", "-m", "variants=[base],[mine]", "tasks=[lab_arc]", "limit=60"]
    options = ["results.dir=swept", "results.baseline=before", "claims=[t2_lora_forgets]"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 cell of 2 regressed at all" in done.stdout
    assert "t2_lora_forgets, lab-base: not measured" in done.stdout
