"""The planning command, on what people type."""

import pytest

from harness.report import plan
from harness.report.plan import Seen, plan_lines
from harness.statistics import documents_for


def run(capsys, *arguments):
    status = plan.main(list(arguments))
    out = capsys.readouterr()
    return status, out.out, out.err


def test_several_shares_where_none_is_known(capsys):
    status, out, _ = run(capsys, "--effect", "0.02", "--documents", "1319")
    assert status == 0
    assert f"{documents_for(0.02, 0.05):,}" in out
    assert "power with all 1,319" in out


def test_documents_of_a_task_are_counted(capsys):
    _, out, _ = run(capsys, "--effect", "0.1", "--changed", "0.2", "--task", "lab_gsm8k")
    assert "power with all 300" in out
    _, out, _ = run(capsys, "--effect", "0.1", "--changed", "0.2", "--task", "lab_humaneval")
    assert "power with all 300" in out


def test_a_task_that_cannot_be_reached_is_planned_all_the_same(capsys):
    status, out, _ = run(capsys, "--effect", "0.02", "--task", "gsm8k")
    assert status == 0
    assert "not known here" in out
    assert "--documents N" in out


def test_more_comparisons_more_documents():
    one, ten = (plan_lines(0.05, [Seen("", 0.1, 0, 1.0)], k)[-1] for k in (1, 10))
    assert int(one.split()[-1].replace(",", "")) < int(ten.split()[-1].replace(",", ""))


def test_clusters_that_widen_ask_for_more():
    assert str(3 * documents_for(0.05, 0.1)) in plan_lines(0.05, [Seen("x", 0.1, 100, 3.0)])[-1].replace(",", "")


def test_fewer_changes_than_points_cannot_be():
    assert "5.0% (1.0% seen)" in plan_lines(0.05, [Seen("x", 0.01, 100, 1.0)])[-1]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--effect", "2"], "0.02 is 2 points"),
    (["--effect", "0.1", "--changed", "0.05"], "at least the effect"),
    (["--effect", "0.1", "--task", "gsm9k"], "gsm9k"),
    (["--effect", "0.1", "--comparisons", "0"], "at least 1"),
    (["--effect", "0.1", "--results", "nowhere"], "needs --task"),
    (["--effect", "0.1", "--results", "nowhere", "--task", "lab_arc"], "holds no stored cells"),
])  # fmt: skip
def test_what_cannot_be_planned(capsys, arguments, message):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert message in err
