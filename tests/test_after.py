"""What follows the cells: levels, differences, published numbers."""

import json

import pytest

from harness.after import after_cells, delta_config, delta_of
from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.evaluation.judged import load
from harness.report import build_table, write_pages

SMALL = ["model=lab-base", "tasks=[lab_gsm8k,lab_arc]", "limit=40", "levels.prompts=6", "runtime.device=cpu"]


def bench_of(folder, variants, *overrides):
    run = compose_run(
        [*SMALL, f"results.dir={folder}", f"variants=[{variants}]", "levels.tasks=[lab_gsm8k]", *overrides]
    )
    bench = Bench(plan_grid(run))
    for cell in bench.grid.cells:
        bench.evaluate(cell)
    return bench


def judged(folder):
    return load(folder / "levels" / "lab-base" / "lab_gsm8k.json")


@pytest.fixture(scope="module")
def judged_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("levels")
    said = []
    assert after_cells(bench_of(folder, "base,oproj_zeroed"), said.append) == []
    return folder, said


def test_every_answer_gets_the_level_that_its_scorer_allows(judged_once):
    folder, _ = judged_once
    found = judged(folder)
    store = Bench(plan_grid(compose_run([*SMALL, f"results.dir={folder}"]))).store
    for result in store:
        if result.name.task != "lab_gsm8k":
            continue
        answers = found.variants[result.name.variant]
        assert len(answers.documents) == result.n == 40
        for outcome in store.outcomes(result.name):
            level = answers.documents[f"{outcome.subtask}/{outcome.doc_id}"]
            assert (level == 4) == (outcome.metrics["exact_match"] == 1)
            assert answers.tokens[f"{outcome.subtask}/{outcome.doc_id}"] == outcome.generated_tokens
    assert found.variants["oproj_zeroed"].tally()[0] > 36  # nonsense
    assert found.variants["base"].tally()[0] < 4
    assert found.calibrated == 20
    assert set(found.agreement) == {"right", "wrong", "swapped", "shuffled", "mlp_zeroed", "oproj_reinit"}


def test_only_new_answers_are_read_and_old_thresholds_stand(judged_once):
    folder, said = judged_once
    assert "reading the answers of base, oproj_zeroed" in said[0]
    again = []
    assert after_cells(bench_of(folder, "base,oproj_zeroed"), again.append) == []
    assert again == []
    before = judged(folder)
    assert after_cells(bench_of(folder, "base,qkv_merged"), again.append) == []
    assert [line.rpartition(" ")[2] for line in again] == ["qkv_merged"]
    after = judged(folder)
    assert set(after.variants) == {"base", "oproj_zeroed", "qkv_merged"}
    assert (after.thresholds, after.variants["base"]) == (before.thresholds, before.variants["base"])


def test_other_settings_judge_anew(judged_once, tmp_path):
    folder, _ = judged_once
    said = []
    after_cells(bench_of(folder, "base,oproj_zeroed", "levels.tokens=20"), said.append)
    assert "reading the answers of base, oproj_zeroed" in said[0]
    assert judged(folder).settings["tokens"] == 20


def test_pages_show_levels_and_published_numbers(tmp_path):
    block = "{source: A 2025,about: theirs,n: {t: 30},rows: [{variant: base,label: A,scores: {t: 0.5},tokens: 12.0}]}"
    bench = bench_of(tmp_path, "base,oproj_zeroed", f"published=[{block}]")
    assert after_cells(bench, lambda _: None) == []
    pages = {p.name: p.read_text() for p in write_pages(build_table(tmp_path))}
    assert "| mlp_zeroed | I |" in pages["levels.md"]
    assert "what compares is the pattern" in pages["experiment.md"]
    row = next(line for line in pages["experiment.md"].splitlines() if line.startswith("| `base` | A |"))
    assert "50.0 [33.2, 66.8]<br>15 of 30" in row
    assert "| `oproj_zeroed` |  |" in pages["experiment.md"]


def test_tasks_without_answers_are_said_and_the_cells_stand(tmp_path):
    bench = bench_of(tmp_path, "base", "levels.tasks=[lab_arc]")
    said = []
    (problem,) = after_cells(bench, said.append)
    assert "lab_arc has no generated answers" in problem
    assert said[-1] == f"error: {problem}"
    assert len(list(bench.store)) == 2


def test_a_missing_baseline_is_said(tmp_path):
    bench = bench_of(tmp_path, "oproj_zeroed")
    said = []
    assert after_cells(bench, said.append) == []
    assert "not judged, since base" in said[0]


def test_damaged_levels_are_named(judged_once, tmp_path):
    folder, _ = judged_once
    path = tmp_path / "x.json"
    content = json.loads((folder / "levels" / "lab-base" / "lab_gsm8k.json").read_text())
    for broken in ("{", json.dumps({**content, "format": 9}), json.dumps({**content, "thresholds": 3})):
        path.write_text(broken)
        with pytest.raises(ValueError, match="holds no judged answers"):
            load(path)


def test_a_judge_model_of_lm_evals_reads_in_place_of_the_rule(tmp_path):
    """The lab's model knows no roman numerals: nothing gets a level by it, and that is said."""
    from harness.config.paths import LAB_WEIGHTS

    args = f"{{pretrained: '{LAB_WEIGHTS / 'lab-base'}', device: cpu}}"
    bench = bench_of(tmp_path, "base", "levels.judge=hf", f"levels.judge_args={args}", "levels.documents=10")
    assert after_cells(bench, lambda _: None) == []
    found = judged(tmp_path)
    assert found.judge.startswith("hf ")
    assert found.thresholds == {}
    assert found.variants["base"].unread + sum(found.variants["base"].tally()) == 40
    assert "no level" in {p.name: p.read_text() for p in write_pages(build_table(tmp_path))}["levels.md"]


def test_delta_of_a_run_is_that_of_the_stethoscope(tmp_path):
    run = compose_run(["experiment=sfn_delta", "model=lab", f"results.dir={tmp_path}", "delta.figures=false"])
    line = delta_of(run, "lab", progress=False)
    assert "tensors of lab and lab-reasoner compared" in line
    assert (tmp_path / "delta" / "lab" / "delta.md").is_file()
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize(("key", "text"), [("delta.out=x", "out follows from the run"), ("delta.prts=[all]", "prts")])
def test_mistakes_in_delta_are_said(key, text):
    run = compose_run(["experiment=sfn_delta", "model=lab", key])
    with pytest.raises(ValueError, match=text):
        delta_config(run, "lab")
