"""What a cell's identity sees, and what its counts find."""

import dataclasses
from dataclasses import replace

import pytest
import torch

from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.evaluation.parts import Part
from harness.evaluation.runner import merge, run_part
from harness.patch import Patch


def bench(tmp_path, *overrides):
    base = [f"results.dir='{tmp_path}'", "runtime.device=cpu", "limit=4"]
    return Bench(plan_grid(compose_run([*base, *overrides])))


def cell(tmp_path, *overrides):
    made = bench(tmp_path, *overrides)
    return made.cell(made.grid.cells[0])


@pytest.mark.parametrize(
    "override",
    [
        "limit=5",
        "seed=2",
        "runtime.dtype=bfloat16",
        "runtime.max_length=100",
        "task.num_fewshot=1",
        "task.max_gen_toks=50",
        "model=lab-reasoner",
        "sandbox.seconds=9",
        "engine=hf",
        "runtime.deadline=30",
    ],
)
def test_identity_sees(tmp_path, override):
    task = "lab_humaneval" if override.startswith("sandbox") else "lab_gsm8k"
    one, two = cell(tmp_path, f"tasks=[{task}]"), cell(tmp_path, f"tasks=[{task}]", override)
    assert one.digest != two.digest


def test_identity_is_the_same_in_another_process_and_for_another_batch_size(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from evaluation.test_runner import cell\n"
        "from pathlib import Path\n"
        f"print(cell(Path({str(tmp_path)!r}), 'tasks=[lab_humaneval]', 'runtime.batch_size=7').digest)"
    )
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()[-1]
    assert cell(tmp_path, "tasks=[lab_humaneval]").digest == there


@pytest.mark.parametrize("task", ["lab_gsm8k", "lab_math", "lab_humaneval", "lab_arc", "lab_mmlu", "ioi"])
def test_engine_and_lm_eval_give_the_same_outcomes(tmp_path, task):
    """Every document of twenty: the same text, or log-likelihoods within 1e-4; the same metrics."""
    found = {}
    for engine in ("tree", "hf"):
        made = bench(tmp_path / engine, f"tasks=[{task}]", "limit=20", f"engine={engine}", "variants=[mlp_merged]")
        result = made.evaluate(made.grid.cells[0]).result
        found[engine] = made.store.outcomes(result.name)
        assert result.identity["backend"] == engine
    for ours, theirs in zip(found["tree"], found["hf"], strict=True):
        assert (ours.document, ours.response) == (theirs.document, theirs.response)
        assert ours.metrics == pytest.approx(theirs.metrics, abs=1e-4)
        if ours.response is None:
            values = [float(v) for v, _ in ours.prediction]
            assert values == pytest.approx([float(v) for v, _ in theirs.prediction], abs=1e-4)


def test_self_consistency_samples_share_their_prompt_and_repeat(tmp_path):
    benches = [bench(tmp_path, "tasks=[lab_gsm8k_self_consistency]", "limit=6", "fresh=true") for _ in range(2)]
    first, second = (b.evaluate(b.grid.cells[0]).result for b in benches)
    made = benches[1]
    outcomes = made.store.outcomes(second.name)
    assert {o.filter for o in outcomes} == {"score-first", "maj@8"}
    assert all(len(o.response[0]) == 8 for o in outcomes)
    assert first.scores == second.scores
    assert first.counts["requests"] == 48
    other = bench(tmp_path / "other", "tasks=[lab_gsm8k_self_consistency]", "limit=6", "runtime.batch_size=5")
    assert other.evaluate(other.grid.cells[0]).result.scores == first.scores
    assert [o.response for o in other.store.outcomes(first.name)] == [o.response for o in outcomes]


def test_variants_of_a_base_share_prompts_and_plans(tmp_path):
    made = bench(tmp_path, "tasks=[ioi,lab_gsm8k]", "variants=[base,oproj_zeroed,mlp_merged]")
    for cell in made.grid.cells:
        made.evaluate(cell)
    assert made._plans.made == 2
    hashes = {str(c.name.task): set() for c in made.grid.cells}
    for cell in made.grid.cells:
        hashes[str(cell.name.task)].add(tuple(o.prompt_hash for o in made.store.outcomes(cell.name)))
    assert {len(h) for h in hashes.values()} == {1}, "all variants were asked in the same words"


def test_generation_with_nan_is_counted_and_fails_the_cell(tmp_path):
    broken = cell(tmp_path, "tasks=[lab_gsm8k]")
    name = "model.norm.weight"
    norm = torch.full_like(broken.base.model.get_parameter(name), float("nan"))
    broken = dataclasses.replace(broken, patch=Patch({name: norm}))
    result, _ = merge(broken, [run_part(broken, Part(0, 0, 4))])
    assert result.counts["not_finite"] >= 4
    assert result.problems


def test_budget_that_leaves_no_room_is_lowered_and_counted(tmp_path):
    made = bench(tmp_path, "tasks=[lab_gsm8k]", "task.max_gen_toks=1000")
    counts = made.evaluate(made.grid.cells[0]).result.counts
    assert counts["clipped_budgets"] == 4
    made = bench(tmp_path, "tasks=[lab_gsm8k]", "task.max_gen_toks=150")
    assert made.evaluate(made.grid.cells[0]).result.counts["clipped_budgets"] == 0


def test_wrong_metric_or_cluster_is_found_before_the_work(tmp_path):
    for override, words in (
        ("task.metric='acc,none'", r"no metric 'acc,none' in lab_gsm8k; metrics: exact_match; filters: strict-match"),
        ("task.cluster=colour", r"cluster 'colour': documents of lab_gsm8k have the columns question"),
    ):
        made = bench(tmp_path, "tasks=[lab_gsm8k]", override)
        with pytest.raises(ValueError, match=words):
            made.evaluate(made.grid.cells[0])
        assert not list((tmp_path / "cells").rglob("*.json"))


def test_stored_cell_is_found_again_only_with_its_identity(tmp_path):
    made = bench(tmp_path, "tasks=[ioi]")
    planned = made.grid.cells[0]
    first = made.evaluate(planned)
    assert not first.reused
    assert not made.evaluate(planned).reused, "of this session"
    assert bench(tmp_path, "tasks=[ioi]").evaluate(planned).reused
    stored = made._work.stored(made.cell(planned))
    assert replace(stored, outcomes="") == first.result
    assert stored.outcomes
    other = bench(tmp_path, "tasks=[ioi]", "seed=9")
    assert other._work.stored(other.cell(other.grid.cells[0])) is None
