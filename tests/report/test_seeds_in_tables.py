"""Several seeds of one variant in one row, and what training in stages and losses elsewhere look like."""

import dataclasses
import json

import pytest
from evaluation.test_store import outcome, result

from harness.evaluation.cells import CellName
from harness.evaluation.store import Store
from harness.report import build_table, terminal_text, write_pages


def put(store, variant, rights, task="acc_task", n=100, chance=0.0, measured=None):
    name = CellName("m", variant, task)
    outcomes = [outcome(i, float(rights(i))) for i in range(n)]
    score = sum(o.metrics["acc"] for o in outcomes) / n
    cell = result(name)
    patch = {**cell.patch, "measured": measured or {}}
    store.put(dataclasses.replace(cell, score=score, n=n, chance=chance, patch=patch), outcomes)


MEASURED = {
    "sft_active": 100, "sft_items": 30, "sft_learning_rate": 0.001, "sft_held_back_score": 0.5, "rl_active": 50,
    "rl_first_reward": 0.25, "rl_last_reward": 0.75, "split_system1": 20, "split_system2": 10, "split_known": 30,
    "split_right": 27, "split_kappa": 0.5, "region_jaccard": 0.614,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    store = Store(tmp_path / "run")
    put(store, "base", lambda i: i < 50)
    for seed in (0, 1, 2):
        found = {**MEASURED, "sft_learning_rate": 0.001 * (seed + 1)}
        put(store, f"par~{seed}", lambda i, seed=seed: i < 78 + seed, measured=found)
    put(store, "base", lambda i: i < 50, task="other", chance=0.25)
    for seed in (0, 1, 2):
        put(store, f"par~{seed}", lambda i, seed=seed: i < 25 + seed, task="other", chance=0.25)
    return tmp_path / "run"


def rows(table):
    return {row.variant: row for row in table.rows}


def test_seeds_share_a_row_and_one_comparison(folder):
    table = build_table(folder)
    assert list(rows(table)) == ["base", "par"]
    assert table.comparisons == 2
    entry = rows(table)["par"].entries["acc_task"]
    assert entry.score.value == pytest.approx(0.79)
    assert entry.seeds == {"0": 0.78, "1": 0.79, "2": 0.80}
    assert entry.pairing.comparison.difference.value == pytest.approx(0.29)
    assert (entry.pairing.comparison.gained, entry.pairing.comparison.lost) == (28 + 29 + 30, 0)
    assert entry.verdict == "gain"
    assert entry.score.n == 100


def test_one_seed_alone_is_a_cell_like_any_other(folder):
    one = build_table(folder, variants=["base", "par~1"])
    entry = rows(one)["par"].entries["acc_task"]
    assert entry.seeds == {}
    assert entry.pairing.comparison.test == "McNemar exact"
    assert rows(build_table(folder, variants=["base", "par"])).keys() == {"base", "par"}


def test_the_pages_say_what_the_seeds_were_and_what_was_lost(folder):
    table = build_table(folder)
    pages = {p.name: p.read_text() for p in write_pages(table)}
    page = pages["table.md"]
    assert "`par`<br>3 seeds" in page
    assert "| chance |  | 0.0 | 25.0 |" in page
    assert "<br>78.0 79.0 80.0<br>Δ +29.0 [" in page
    assert "take both documents and seeds for samples" in page
    assert "- `par` gains on acc_task, and loses on other and is at chance on other." in page
    assert " = chance<br>25.0 26.0 27.0" in page
    assert "par (3 seeds)" in terminal_text(table)
    cells = {(c["variant"], c["task"]): c for c in json.loads(pages["table.json"])["cells"]}
    assert cells["par", "acc_task"]["by_seed"] == {"0": 0.78, "1": 0.79, "2": 0.80}
    assert cells["par", "acc_task"]["seeds"] == 3
    assert cells["base", "acc_task"]["seeds"] is None


def test_the_training_section_holds_every_seed(folder):
    write_pages(build_table(folder))
    page = (folder / "table.md").read_text()
    section = page[page.index("## Training") : page.index("## Every number")]
    assert "| m | `par` | 20 / 10 | 90.0% of 30 | 0.50 | 0.614 | 30 | 100 |" in section
    assert "0.001 (50.0%)<br>0.002 (50.0%)<br>0.003 (50.0%)" in section
    assert "0.25 → 0.75" in section
    assert "silent groups |" not in section  # nobody measured it


def test_a_seed_that_failed_stays_visible(folder):
    store = Store(folder)
    store.put_failure(CellName("m", "par~3", "acc_task"), "it broke", "")
    table = build_table(folder)
    assert "par~3" in terminal_text(table)
    assert "it broke" in terminal_text(table)
    assert rows(table)["par"].entries["acc_task"].seeds.keys() == {"0", "1", "2"}


def test_a_baseline_of_several_seeds_is_paired_seed_by_seed(folder):
    store = Store(folder)
    for seed, right in ((0, 70), (1, 60), (5, 10)):
        put(store, f"lora~{seed}", lambda i, right=right: i < right)
    table = build_table(folder, baseline="lora", tasks=["acc_task"])
    found = rows(table)
    assert found["lora"].entries["acc_task"].verdict == "baseline"
    against = found["par"].entries["acc_task"].pairing.comparison
    assert against.difference.value == pytest.approx(((78 - 70) + (79 - 60)) / 200)  # seeds 0 and 1, which both have
    assert found["base"].entries["acc_task"].pairing.comparison.difference.value == pytest.approx(0.5 - 1.4 / 3)
    with pytest.raises(ValueError, match="holds no cell of baseline 'nothing'"):
        build_table(folder, baseline="nothing")


def test_a_run_of_its_own_seed_does_not_count_among_the_seeds(folder):
    put(Store(folder), "par", lambda i: i < 78)
    found = rows(build_table(folder))
    assert set(found) == {"base", "par", "par~"}
    assert found["par"].entries["acc_task"].seeds == {}
    assert set(found["par~"].entries["acc_task"].seeds) == {"0", "1", "2"}


def test_scores_that_never_vary_still_have_an_interval(tmp_path):
    store = Store(tmp_path / "run")
    put(store, "base", lambda i: True, n=20)
    for seed in (0, 1):
        put(store, f"par~{seed}", lambda i: True, n=20)
    entry = rows(build_table(tmp_path / "run"))["par"].entries["acc_task"]
    assert entry.score.low == pytest.approx(0.8389, abs=1e-3)  # Wilson's, of 20 right of 20
    assert entry.pairing.comparison.difference.low < 0
    assert entry.pairing.comparison.p == 1.0


def test_one_document_and_several_seeds(tmp_path):
    store = Store(tmp_path / "run")
    put(store, "base", lambda i: True, n=1)
    for seed in (0, 1):
        put(store, f"par~{seed}", lambda i, seed=seed: seed, n=1)
    entry = rows(build_table(tmp_path / "run"))["par"].entries["acc_task"]
    assert entry.score.value == 0.5
    assert entry.pairing.comparison is None
