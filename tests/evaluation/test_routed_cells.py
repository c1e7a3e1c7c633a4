"""Cells of variants that adapt: routes kept with outcomes, the same in parts, and told in the table."""

import json
from dataclasses import replace

import pytest

from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.evaluation.parts import Part
from harness.evaluation.runner import merge, run_part
from harness.report import build_table, write_pages
from harness.svf import SvfConfig
from harness.variants.injected import injected, modules_of

TASKS = "tasks=[lab_letters,lab_arc]"


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    """Experts that need no training, in a user's own conf."""
    root = tmp_path_factory.mktemp("routed")
    made = Bench(plan_grid(compose_run([f"results.dir='{root / 'x'}'", "tasks=[lab_arc]", "runtime.device=cpu"])))
    base = made.base(made.grid.cells[0].model)
    (root / "conf" / "variant").mkdir(parents=True)
    for name, value in (("high", 1.3), ("low", 0.7)):
        settings = SvfConfig(target_modules=list(modules_of(base, ["mlp"], "0:2")), init=value)
        with injected(base, settings) as adapted:
            adapted.save_pretrained(root / name)
        (root / "conf" / "variant" / f"{name}.yaml").write_text(f"method: adapter\npath: {root / name}\n")
    (root / "conf" / "variant" / "asked.yaml").write_text(
        "defaults: [prompt, _self_]\nexperts: {math: high, code: low, knowledge: low}\n"
    )
    (root / "conf" / "variant" / "mixed.yaml").write_text(
        "defaults: [few_shot, _self_]\nexperts: [high, low]\nbase: true\n"
        "shots: 4\nheld_back: 4\niterations: 2\npopulation: 4\n"
    )
    (root / "conf" / "variant" / "leaking.yaml").write_text("defaults: [mixed, _self_]\nleaky: true\n")
    return root


@pytest.fixture
def bench(conf, tmp_path, monkeypatch):
    monkeypatch.chdir(conf)

    def made(*overrides):
        where = [f"results.dir='{tmp_path / 'run'}'", "runtime.device=cpu", "limit=24", TASKS]
        return Bench(plan_grid(compose_run([*where, *overrides])))

    return made


def run(made):
    for planned in made.grid.cells:
        made.evaluate(planned)
    return made


def test_each_outcome_is_that_of_its_route(bench, conf):
    """The routed cell against three plain cells: base, and each expert over everything."""
    made = run(bench("variants=[base,high,low,asked]"))
    outcomes = {str(c.name): made.store.outcomes(c.name) for c in made.grid.cells}
    by_route = {"others": "base", "math": "high", "code": "low", "knowledge": "low"}
    routes = set()
    for task in ("lab_letters", "lab_arc"):
        for i, outcome in enumerate(outcomes[f"lab-base/asked/{task}"]):
            routes.add(outcome.route)
            plain = outcomes[f"lab-base/{by_route[outcome.route]}/{task}"][i]
            assert outcome.document == plain.document
            assert outcome.response == plain.response
            assert outcome.metrics == plain.metrics
            assert plain.route is None
    assert len(routes) > 1


def test_parts_give_what_the_whole_gives(bench):
    made = bench("variants=[asked]")
    cell = made.cell(made.grid.cells[0])
    whole = run_part(cell, Part(0, 0, 24))
    parts = [run_part(cell, Part(i, 8 * i, 8 * i + 8)) for i in range(3)]
    for part, unread in zip(parts, (1, 0, 7), strict=True):
        part.routing["unread"] = unread
    result, outcomes = merge(cell, parts)
    assert outcomes == whole.outcomes
    assert result.routing["unread"] == 8
    assert result.routing["seconds"] == pytest.approx(sum(p.routing["seconds"] for p in parts), abs=0.01)
    assert result.seconds >= result.routing["seconds"] > 0


def test_a_search_counts_once_whoever_needs_it(bench):
    made = bench("variants=[mixed]")
    cell = made.cell(made.grid.cells[0])
    parts = [run_part(cell, Part(i, 8 * i, 8 * i + 8)) for i in range(3)]
    result, _ = merge(cell, parts)
    (folder,) = (made.store.folder / "patches").glob("few_shot-*")
    searched = json.loads((folder / "search.json").read_text())["seconds"]
    assert result.routing["seconds"] == searched
    assert [p.routing["seconds"] for p in parts] == [searched, 0.0, 0.0]
    assert result.seconds > searched
    assert sum(result.routing["alpha"].values()) == pytest.approx(1, abs=1e-3)


def test_other_shots_make_another_cell(bench):
    one, two = (bench("variants=[mixed]", f"variant.seed={seed}") for seed in (0, 1))
    assert one.cell(one.grid.cells[0]).digest != two.cell(two.grid.cells[0]).digest
    again = bench("variants=[mixed]", "variant.seed=0")
    assert again.cell(again.grid.cells[0]).digest == one.cell(one.grid.cells[0]).digest


def test_shots_of_the_task_do_not_depend_on_what_was_asked_before(bench):
    """lm-eval's draw of shots goes on from call to call."""
    asked = "variants=[mixed]", "tasks=[lab_gsm8k]", "task.num_fewshot=2"
    made = bench(*asked)
    cell = made.cell(made.grid.cells[0])
    first = cell.stage(cell).examples(6, 0, None, False).digest
    (task,) = cell.task.subtasks.values()
    task.fewshot_context(task.eval_docs[0], 2)
    assert cell.stage(cell).examples(6, 0, None, False).digest == first
    again = bench(*asked)
    assert again.cell(again.grid.cells[0]).digest == cell.digest


def test_the_table_tells_dispatch_mixtures_and_leaks(bench):
    made = run(bench("variants=[base,asked,mixed,leaking]"))
    table = build_table(made.store.folder)
    assert table.comparisons == 4  # what was chosen on test documents resolves nothing
    pages = {p.name: p.read_text() for p in write_pages(table)}
    page = pages["table.md"]
    counts = {r.variant: r.entries["lab_letters"].routes for r in table.rows}
    assert sum(counts["asked"].values()) == 24
    assert counts["mixed"] == {"mixture": 24}
    assert counts["base"] == {}
    line = next(x for x in page.splitlines() if x.startswith("| lab-base | `asked` | lab_letters |"))
    cells = [c.strip(" *") for c in line.split("|")[4:8]]
    assert cells == [str(counts["asked"].get(c, 0)) for c in ("math", "code", "knowledge", "others")]
    assert "| weight of high | weight of low | weight of base |" in page
    assert page.count("`leaking`<br>⚠ chosen on test documents") >= 3
    assert "`mixed`<br>" not in page
    assert "leaking (chosen on test documents)" in pages["table.tex"]
    records = {(c["variant"], c["task"]): c for c in json.loads(pages["table.json"])["cells"]}
    assert records["leaking", "lab_arc"]["leaky"] is True
    assert records["asked", "lab_arc"]["first_pass"] > 0
    assert records["base", "lab_arc"]["first_pass"] is None


def test_a_task_without_shots_is_an_error_that_says_what_to_do(bench):
    alone = "variants=[mixed]", "tasks=[lab_mmlu]", "task.training_split=null"
    made = bench(*alone)
    with pytest.raises(ValueError, match=r"has no training documents.*variant\.shots_from="):
        made.evaluate(made.grid.cells[0])
    other = bench(*alone, "variant.shots_from={lab_mmlu: lab_arc}")
    assert other.evaluate(other.grid.cells[0]).result.routing["alpha"]


def test_what_adapts_is_not_exported(bench, tmp_path):
    made = bench("variants=[asked]")
    with pytest.raises(ValueError, match="chooses a patch for each document"):
        made.export_once(made.grid.cells[0], tmp_path / "out")


def test_the_patches_of_several_runs_may_lie_together(bench, tmp_path):
    shared = f"results.patches='{tmp_path / 'shared'}'"
    one = bench("variants=[mixed]", shared, "tasks=[lab_arc]")
    first = one.evaluate(one.grid.cells[0]).result
    two = bench("variants=[mixed]", shared, "tasks=[lab_arc]", f"results.dir='{tmp_path / 'second'}'")
    second = two.evaluate(two.grid.cells[0]).result
    assert len(list((tmp_path / "shared").glob("few_shot-*"))) == 1
    assert first.routing == second.routing
    assert not (tmp_path / "run" / "patches").exists()
    assert replace(first, name=second.name).digest == second.digest
