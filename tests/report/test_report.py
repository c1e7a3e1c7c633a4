import csv
import dataclasses
import io
import json
import subprocess
import sys

import pytest
from evaluation.test_store import outcome, result

from harness.evaluation.cells import CellName
from harness.evaluation.store import Store
from harness.report import build_table, terminal_text, write_pages
from harness.report.__main__ import main


def put(store, variant, rights, task="acc_task", model="m", n=100, **changes):
    name = CellName(model, variant, task)
    outcomes = [outcome(i, float(i < rights if isinstance(rights, int) else rights(i)), **changes) for i in range(n)]
    score = sum(o.metrics["acc"] for o in outcomes) / n
    store.put(dataclasses.replace(result(name), score=score, n=n), outcomes)


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "run")
    put(store, "base", 50)
    put(store, "better", 80)
    put(store, "worse", 20)
    put(store, "same", lambda i: i < 49 or i == 60)
    put(store, "base", 50, task="other")
    put(store, "better", 50, task="other")
    return tmp_path / "run"


def verdicts(table, task="acc_task"):
    return {r.variant: r.entries[task].verdict for r in table.rows if task in r.entries}


def test_verdicts(folder):
    table = build_table(folder)
    assert verdicts(table) == {"base": "baseline", "better": "gain", "worse": "regression", "same": "unresolved"}
    assert table.comparisons == 4
    entry = {r.variant: r for r in table.rows}["better"].entries["acc_task"]
    assert entry.pairing.comparison.difference.value == pytest.approx(0.30)
    assert (entry.pairing.comparison.gained, entry.pairing.comparison.lost) == (30, 0)
    assert entry.adjusted_p == pytest.approx(4 * 2 * 0.5**30)


def test_every_page_says_the_same(folder):
    table = build_table(folder)
    paths = {p.suffix: p.read_text() for p in write_pages(table)}
    rows = list(csv.DictReader(io.StringIO(paths[".csv"])))
    cells = json.loads(paths[".json"])["cells"]
    assert len(rows) == len(cells) == 6
    for row, cell in zip(rows, cells, strict=True):
        assert float(row["score"]) == cell["score"]
        assert f"**{100 * cell['score']:.1f}**" in paths[".md"]
    assert "Δ +30.0 [" in paths[".md"]
    assert "▲" in paths[".md"]
    assert "▼" in paths[".md"]
    assert r"\textbf{80.0 ($+30.0$)}" in paths[".tex"]
    assert r"\textit{20.0 ($-30.0$)}" in paths[".tex"]
    assert "not run" in paths[".md"]
    assert "80.0 (+30.0) ▲" in terminal_text(table)


def test_markdown_tables_have_as_many_cells_in_every_line(folder):
    write_pages(build_table(folder))
    blocks = (folder / "table.md").read_text().split("\n\n")
    tables = [b.splitlines() for b in blocks if b.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_choices(folder):
    table = build_table(folder, baseline="worse", tasks=["acc_task"], sort="acc_task")
    assert [r.variant for r in table.rows] == ["worse", "better", "base", "same"]
    assert verdicts(table)["base"] == "gain"
    assert [r.variant for r in build_table(folder, variants=["base", "worse"]).rows] == ["base", "worse"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"baseline": "bse"}, "no cell of baseline 'bse'; variants there: base, better"),
        ({"variants": ["nothing"]}, "no cell of variant nothing; it has base, better"),
        ({"tasks": ["acc_task", "nothing"]}, "no cell of task nothing; it has acc_task, other"),
        ({"sort": "nothing"}, "cannot sort by 'nothing'; tasks: acc_task, other"),
    ],
)
def test_mistakes(folder, arguments, text):
    with pytest.raises(ValueError, match=text):
        build_table(folder, **arguments)


def test_empty_folder_leaves_no_page(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no stored cells" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_other_prompts_do_not_pair_and_that_is_said(folder):
    store = Store(folder)
    put(store, "reworded", 50, prompt_hash="other")
    put(store, "fewer", 10, n=60)
    table = build_table(folder)
    rows = {r.variant: r.entries["acc_task"] for r in table.rows}
    assert rows["reworded"].pairing.comparison is None
    assert rows["fewer"].pairing.unpaired == 40
    assert rows["fewer"].pairing.comparison.difference.n == 60
    write_pages(table)
    page = (folder / "table.md").read_text()
    assert "m/fewer/acc_task: 40 documents do not pair" in page
    assert "m/reworded/acc_task: 200 documents do not pair" in page


def test_cells_of_another_setting_are_not_compared_and_that_is_said(folder):
    store = Store(folder)
    name = CellName("m", "other_weights", "acc_task")
    identity = {**result().identity, "model": "g", "dtype": "bfloat16", "patch": "q", "limit": 9}
    store.put(dataclasses.replace(result(name), identity=identity), [outcome(0, 1.0)])
    table = build_table(folder)
    entry = {r.variant: r for r in table.rows}["other_weights"].entries["acc_task"]
    assert entry.pairing.comparison is None
    assert entry.verdict == "none"
    write_pages(table)
    assert (
        "other_weights/acc_task is not compared: it differs from `base` in dtype, model"
        in (folder / "table.md").read_text()
    )


def test_the_baseline_is_compared_with_also_where_it_is_not_shown(folder):
    table = build_table(folder, variants=["better"])
    assert verdicts(table) == {"better": "gain"}


def test_a_damaged_cell_is_left_out_and_named(folder):
    Store(folder).path(CellName("m", "same", "acc_task")).write_text("{bad")
    Store(folder).path(CellName("m", "worse", "acc_task")).with_suffix(".jsonl").unlink()
    table = build_table(folder)
    assert verdicts(table) == {"base": "baseline", "better": "gain"}
    write_pages(table, folder / "elsewhere")
    page = (folder / "elsewhere" / "table.md").read_text()
    assert "same/acc_task.json is not a stored cell" in page
    assert "worse/acc_task are missing" in page
    assert main([str(folder), "--out", str(folder / "elsewhere")]) == 1
    assert not (folder / "table.md").exists()


def test_what_cannot_be_trusted_is_marked(folder):
    store = Store(folder)
    name = CellName("m", "broken", "acc_task")
    counts = {**result().counts, "not_finite": 3}
    store.put(dataclasses.replace(result(name), counts=counts), [outcome(0, 1.0)])
    write_pages(build_table(folder))
    page = (folder / "table.md").read_text()
    assert "⚠ m/broken/acc_task: 3 log-likelihoods were NaN" in page


def test_command_line(folder):
    done = subprocess.run(
        [sys.executable, "-m", "harness.report", str(folder), "--sort", "acc_task"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "better" in done.stdout
    assert (folder / "table.tex").is_file()


def test_a_failure_stands_before_the_older_score(folder):
    """The score that lies there is of settings before the ones that failed."""
    store = Store(folder)
    store.put_failure(CellName("m", "better", "acc_task"), "out of memory", "pytest suites")
    table = build_table(folder)
    assert "better" not in verdicts(table)
    row = {r.variant: r for r in table.rows}["better"]
    assert row.absent("acc_task") == "failed"
    assert "out of memory" in terminal_text(table)
    store.forget_failure(CellName("m", "better", "acc_task"))
    assert verdicts(build_table(folder))["better"] == "gain"


def test_a_failed_baseline_compares_with_nothing(folder):
    Store(folder).put_failure(CellName("m", "base", "acc_task"), "out of memory", "pytest suites")
    table = build_table(folder, strict=False)
    assert set(verdicts(table).values()) == {"none"}
