"""A run against a stored one: made-up cells whose truth is known."""

import dataclasses

import pytest
from evaluation.test_store import outcome, result

from harness.evaluation.cells import CellName
from harness.evaluation.store import Store
from harness.report.__main__ import main
from harness.report.against import against_section, against_text, compare_runs
from harness.statistics import compare


def put(folder, variant, right, n=400, task="t", **identity):
    name = CellName("m", variant, task)
    outcomes = [outcome(i, float(right(i))) for i in range(n)]
    made = result(name)
    score = sum(o.metrics["acc"] for o in outcomes) / n
    Store(folder).put(dataclasses.replace(made, score=score, n=n, identity={**made.identity, **identity}), outcomes)


@pytest.fixture
def runs(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    put(old, "base", lambda i: i < 200)
    put(old, "tuned", lambda i: i < 300)
    put(old, "gone", lambda i: True)
    put(new, "base", lambda i: i < 199 or i == 300, model="other weights", dtype="bfloat16")
    put(new, "tuned", lambda i: i < 260, model="other weights")
    put(new, "fresh", lambda i: True)
    return new, old


def test_a_resolved_loss_is_a_regression(runs):
    found = compare_runs(*runs)
    changes = {c.name.variant: c for c in found.changes}
    assert set(changes) == {"base", "tuned"}
    assert [c.name.variant for c in found.regressions] == ["tuned"]
    c = compare([float(i < 260) for i in range(400)], [float(i < 300) for i in range(400)])
    assert changes["tuned"].comparison == c
    assert changes["tuned"].p == pytest.approx(2 * c.p)  # of two cells
    assert changes["base"].p == 1.0
    assert [n.variant for n in found.new] == ["fresh"]
    assert "dtype" in changes["base"].differs
    assert "other weights of the model than then: m" in against_text(found)
    assert "another patch" not in against_text(found)
    put(runs[0], "tuned", lambda i: i < 260, patch="of another file")
    assert "another patch than then: m/tuned" in against_text(compare_runs(*runs))


def test_the_margin_is_what_may_be_lost(runs):
    assert compare_runs(*runs, margin=0.05).regressions  # 10 points are lost, and 40 of 400 is not by chance 20
    assert not compare_runs(*runs, margin=0.08).regressions
    assert not compare_runs(*runs, margin=0.2).regressions
    with pytest.raises(ValueError, match="margin -1: the loss that is allowed"):
        compare_runs(*runs, margin=-1)


def test_a_gain_is_no_regression(runs):
    assert not compare_runs(runs[1], runs[0]).regressions


def test_only_this_runs_cells(runs):
    found = compare_runs(*runs, names={CellName("m", "base", "t")})
    assert [c.name.variant for c in found.changes] == ["base"]


def test_other_documents_and_other_metrics(runs):
    new, old = runs
    put(old, "some", lambda i: True, n=100)
    put(new, "some", lambda i: False, n=90)
    stored = Store(new).get(CellName("m", "tuned", "t"))
    Store(new).put(dataclasses.replace(stored, metric="other"), Store(new).outcomes(stored.name))
    found = {c.name.variant: c for c in compare_runs(new, old).changes}
    assert (found["some"].regressed, found["some"].unpaired) == (True, 10)
    assert (found["tuned"].comparison, found["tuned"].regressed) == (None, False)
    text = against_text(compare_runs(new, old))
    assert "not compared" in text
    assert (
        "1 cell has documents in one run only (up to 10): then and now count them, Δ, its interval and n do not" in text
    )


def test_what_people_read(runs):
    found = compare_runs(*runs)
    text = against_text(found)
    assert "▼" in text
    assert "1 cell of 2 regressed at all, resolved" in text
    assert f"not in {runs[1]}: m/fresh/t" in text
    assert "the runs differ in dtype besides the weights" in text
    section = "\n".join(against_section(found))
    assert "| ▼ m/tuned/t | 75.0 | 65.0 | -10.0 |" in section
    assert "m/base/t" not in section  # what regressed comes first


def test_the_command_fails_on_a_regression(runs, capsys):
    new, old = map(str, runs)
    assert main([new, "--against", old]) == 1
    assert "regressed at all" in capsys.readouterr().out
    assert main([new, "--against", old, "--margin", "0.2"]) == 0
    assert "regressed by more than 20 points" in capsys.readouterr().out
    assert main([new, "--against", f"{old}/nowhere"]) == 2
    assert "holds no stored cells to compare with" in capsys.readouterr().err


def test_runs_that_share_nothing(tmp_path, runs):
    put(tmp_path / "third", "base", lambda i: True, task="u")
    with pytest.raises(ValueError, match="holds none of this run's cells; it has m/base/u"):
        compare_runs(runs[0], tmp_path / "third")
