"""What follows the cells: levels, differences, published numbers."""

import dataclasses
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
    assert {e.kind for e in found.examples} == {"right", "wrong", "swapped", "shuffled", "mlp_zeroed", "oproj_reinit"}
    # No document that set a threshold is an example.
    sources = {e.source for e in found.examples}
    assert len(sources) == 20
    assert sources < set(found.variants["base"].documents)


def variants_read(said):
    """The variants that were judged, by what was said."""
    return [line.split(": ")[1] for line in said if line.split(": ")[-1][0] in "I" or line.endswith("no level")]


def test_only_new_answers_are_read_and_old_thresholds_stand(judged_once):
    folder, said = judged_once
    assert variants_read(said) == ["base", "oproj_zeroed"]
    again = []
    assert after_cells(bench_of(folder, "base,oproj_zeroed"), again.append) == []
    assert again == []
    before = judged(folder)
    assert after_cells(bench_of(folder, "base,qkv_merged"), again.append) == []
    assert variants_read(again) == ["qkv_merged"]
    assert not any("learning" in line for line in again)
    after = judged(folder)
    assert set(after.variants) == {"base", "oproj_zeroed", "qkv_merged"}
    assert (after.thresholds, after.variants["base"]) == (before.thresholds, before.variants["base"])


def test_other_settings_judge_anew(judged_once):
    folder, _ = judged_once
    said = []
    after_cells(bench_of(folder, "base,oproj_zeroed", "levels.tokens=20"), said.append)
    assert variants_read(said) == ["base", "oproj_zeroed"]
    assert judged(folder).settings["tokens"] == 20


def test_other_answers_of_the_same_cell_are_judged_anew(tmp_path):
    """A cell run again may answer otherwise under the same identity (other kernels): its levels go with its answers."""
    bench = bench_of(tmp_path, "base,oproj_zeroed")
    after_cells(bench, lambda _: None)
    name = next(r.name for r in bench.store if r.name.variant == "oproj_zeroed" and r.name.task == "lab_gsm8k")
    result, outcomes = bench.store.get(name), bench.store.outcomes(name)
    base = bench.store.outcomes(dataclasses.replace(name, variant="base"))
    answered = {o.document: o.response for o in base}
    bench.store.put(result, [dataclasses.replace(o, response=answered[o.document]) for o in outcomes])
    page = {p.name: p.read_text() for p in write_pages(build_table(tmp_path))}["levels.md"]
    assert "the levels of oproj_zeroed are of answers that were replaced since" in page
    assert "| `oproj_zeroed` |" not in page
    said = []
    after_cells(Bench(bench.grid), said.append)
    assert variants_read(said) == ["oproj_zeroed"]
    assert judged(tmp_path).variants["oproj_zeroed"].tally()[0] < 4


def test_pages_show_levels_and_published_numbers(tmp_path):
    block = "{source: A 2025,about: theirs,n: {t: 30},rows: [{variant: base,label: A,scores: {t: 0.5},tokens: 12.0}]}"
    bench = bench_of(tmp_path, "base,oproj_zeroed", f"published=[{block}]")
    assert after_cells(bench, lambda _: None) == []
    pages = {p.name: p.read_text() for p in write_pages(build_table(tmp_path))}
    assert "| mlp_zeroed | I |" in pages["levels.md"]
    assert "what compares is the pattern" in pages["experiment.md"]
    (tmp_path / "published.json").write_text("{")
    again = {p.name: p.read_text() for p in write_pages(build_table(tmp_path))}
    assert again["table.md"] == pages["table.md"]
    assert "left out" in again["experiment.md"]
    row = next(line for line in pages["experiment.md"].splitlines() if line.startswith("| `base` | A |"))
    assert "50.0 [33.2, 66.8]<br>15 of 30" in row
    assert "| `oproj_zeroed` |  |" in pages["experiment.md"]


def test_a_task_that_cannot_be_judged_is_said_and_the_others_are_judged(tmp_path):
    bench = bench_of(tmp_path, "base", "levels.tasks=[lab_arc,lab_gsm8k]")
    said = []
    (problem,) = after_cells(bench, said.append)
    assert "levels of lab-base, lab_arc: lab_arc has no generated answers" in problem
    assert f"error: {problem}" in said
    assert judged(tmp_path).variants["base"].documents


@pytest.mark.slow
def test_tasks_of_several_samples_are_refused(tmp_path):
    task = "lab_gsm8k_self_consistency"
    bench = bench_of(tmp_path, "base", f"tasks=[{task}]", f"levels.tasks=[{task}]", "limit=8")
    (problem,) = after_cells(bench, lambda _: None)
    assert "draws 8 samples a document; levels need one" in problem


def test_a_missing_base_is_said(tmp_path):
    (problem,) = after_cells(bench_of(tmp_path, "oproj_zeroed"), lambda _: None)
    assert "base, whose answers set the thresholds, has no stored cell" in problem


@pytest.mark.slow
def test_answers_to_other_tasks_are_language_and_keys_of_services_are_not_stored(tmp_path):
    own = ["tasks=[lab_gsm8k,lab_math]", "levels.tasks=[lab_gsm8k,lab_math]", "levels.judge_args={api_key: hush}"]
    assert after_cells(bench_of(tmp_path, "base", *own), lambda _: None) == []
    found = judged(tmp_path)
    elsewhere = [e for e in found.examples if e.kind == "elsewhere"]
    assert len(elsewhere) == 20
    assert {e.truth for e in elsewhere} == {2}
    assert set(found.settings["learned from"]) == {"lab_gsm8k", "lab_math"}
    assert "hush" not in (tmp_path / "levels" / "lab-base" / "lab_gsm8k.json").read_text()


@pytest.mark.parametrize(
    "broken",
    [
        lambda content: "{",
        lambda content: json.dumps({**content, "format": 9}),
        lambda content: json.dumps({**content, "thresholds": 3}),
        lambda content: json.dumps({**content, "thresholds": {"fluency": "high"}}),
        lambda content: json.dumps({**content, "examples": [{"kind": "x"}]}),
        lambda content: json.dumps({**content, "variants": {"base": {**content["variants"]["base"], "tokens": {}}}}),
    ],
)
def test_damaged_levels_are_named_and_nothing_else_is_lost(judged_once, broken):
    folder, _ = judged_once
    path = folder / "levels" / "lab-base" / "lab_gsm8k.json"
    content = path.read_text()
    try:
        path.write_text(broken(json.loads(content)))
        with pytest.raises(ValueError, match="holds no judged answers"):
            load(path)
        pages = {p.name: p.read_text() for p in write_pages(build_table(folder))}
        assert "| `base` |" in pages["table.md"]
        assert f"left out: {path} holds no judged answers" in pages["levels.md"]
        (problem,) = after_cells(bench_of(folder, "base"), lambda _: None)
        assert "Delete it to judge them again" in problem
    finally:
        path.write_text(content)


@pytest.mark.slow
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
