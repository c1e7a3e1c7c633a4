"""``python -m harness.report claims``: several folders, judged together."""

import shutil
from pathlib import Path

import pytest
from report.html_support import fill

from harness.evaluation.cells import CellName
from harness.evaluation.store import Store
from harness.report.all_claims import judged_folders, main
from harness.statistics import ALPHA

CLAIM = "paper: p\nstatement: S.\nvariants: [{variant}]\ntasks: [{task}]\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    conf = tmp_path / "conf" / "claim"
    conf.mkdir(parents=True)
    for name, variant, task in (
        ("mine_up", "better", "words"), ("mine_down", "worse", "words"), ("mine_not", "never", "words"),
    ):  # fmt: skip
        (conf / f"{name}.yaml").write_text(CLAIM.format(variant=variant, task=task))
    monkeypatch.chdir(tmp_path)
    better = fill(tmp_path / "a", ("base", "better", "same"), ("words",))
    return better, fill(tmp_path / "b", ("base", "worse"), ("words",))


MINE = ["mine_up", "mine_down", "mine_not"]


def test_each_claim_is_decided_where_it_was_measured(folders, capsys):
    verdicts, missing, problems = judged_folders(folders, MINE)
    assert {v.claim.name: v.verdict for v in verdicts} == {"mine_up": "supported", "mine_down": "contradicted"}
    assert {v.level for v in verdicts} == {ALPHA / 2}
    assert (missing, problems) == (["mine_not"], [])
    assert main([*map(str, folders), "--claims", ",".join(MINE), "--out", "page.md"]) == 0
    told = capsys.readouterr().out
    assert "mine_up, m: supported: better vs base on words" in told
    assert "2 claims, each judged at the 2.5% level" in told
    assert "not measured: mine_not" in told
    assert "Not measured here: `mine_not`." in Path("page.md").read_text()


def test_what_cannot_be_compared_says_why_unless_another_folder_decides(folders, capsys):
    one, _ = folders
    store = Store(one)
    path = store.path(CellName("m", "better", "words"))
    whole = path.read_text()
    path.write_text(whole.replace('"dtype": null', '"dtype": "bfloat16"'))
    assert path.read_text() != whole
    arguments = ["--claims", ",".join(MINE), "--out", "page.md"]
    assert main([*map(str, folders), *arguments]) == 1
    err = capsys.readouterr().err
    assert f"left out: mine_up, m in {one}: not decided: better vs base on words: not comparable, they differ" in err
    assert "⚠ left out: mine_up" in Path("page.md").read_text()
    copy = shutil.copytree(one, one.parent / "c")
    Store(copy).path(CellName("m", "better", "words")).write_text(whole)
    assert main([*map(str, (*folders, copy)), *arguments]) == 0
    assert "mine_up, m: supported" in capsys.readouterr().out


def test_damaged_cells_are_named(folders, capsys):
    Store(folders[0]).path(CellName("m", "same", "words")).write_text("[]")
    assert main([*map(str, folders), "--claims", ",".join(MINE)]) == 1
    assert "same/words.json is not a stored cell: it has no format. Delete it" in capsys.readouterr().err


def test_a_folder_without_results(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path} holds no results" in capsys.readouterr().err
