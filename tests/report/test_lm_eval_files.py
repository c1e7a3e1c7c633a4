"""lm-eval's own evaluate and its own tracker as oracles of the files that we write and read."""

import csv
import json
import shutil

import pytest
from lm_eval.evaluator import evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM

from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellName
from harness.evaluation.grid import plan_grid
from harness.evaluation.store import Store
from harness.report import build_table
from harness.report.__main__ import main
from harness.report.from_lm_eval import import_run
from harness.report.to_lm_eval import export_cells

TASKS = ("lab_gsm8k", "lab_arc", "lab_mmlu", "ioi")
N = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same model on the same tasks: our cells, and lm-eval's own run with its own backend and files."""
    folder = tmp_path_factory.mktemp("lm_eval")
    options = ["model=lab-base", "variants=[base,oproj_zeroed]", f"tasks=[{','.join(TASKS)}]", f"limit={N}"]
    bench = Bench(plan_grid(compose_run([*options, f"results.dir={folder / 'ours'}"])))
    for planned in bench.grid.cells:
        bench.evaluate(planned)
    base = bench.base(bench.grid.cells[0].model)
    tracker = EvaluationTracker(output_path=str(folder / "theirs"))
    tracker.general_config_tracker.model_name_sanitized = "lab"
    subtasks = {}
    for planned in bench.grid.cells:
        task = bench.task(planned)
        task.reseed(bench.grid.run.seed)
        subtasks.update(task.subtasks)
    lm = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=4)
    answer = evaluate(lm, {"tasks": subtasks}, limit=N, log_samples=True, bootstrap_iters=0)
    samples = answer.pop("samples")
    plain = {k: v for k, v in answer.items() if k in ("results", "versions", "n-shot", "group_subtasks")}
    tracker.save_results_aggregated(results={**plain, "config": {"model": "hf"}}, samples=samples)
    for name, rows in samples.items():
        tracker.save_results_samples(task_name=name, samples=rows)
    export_cells(folder / "ours", folder / "exported")
    return folder


def rows_of(folder, task):
    (path,) = folder.glob(f"samples_{task}_*.jsonl")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
    return {(row["doc_id"], row["filter"]): row for row in found}


def content(folder):
    (path,) = folder.glob("results_*.json")
    return json.loads(path.read_text())


def test_exported_scores_are_lm_evals(runs):
    ours, theirs = content(runs / "exported" / "lab-base__base"), content(runs / "theirs" / "lab")
    assert set(ours["results"]) == set(theirs["results"])
    for task, values in theirs["results"].items():
        for key, value in values.items():
            if "stderr" not in key and isinstance(value, float):
                assert ours["results"][task][key] == pytest.approx(value, abs=1e-5), (task, key)
    assert ours["task_hashes"] == theirs["task_hashes"]
    assert ours["n-shot"] == theirs["n-shot"]


def test_exported_errors_are_lm_evals_formula(runs):
    from lm_eval.api.metrics import mean_stderr

    found = content(runs / "exported" / "lab-base__base")["results"]["lab_gsm8k"]
    outcomes = Store(runs / "ours").outcomes(CellName("lab-base", "base", "lab_gsm8k"))
    values = [o.metrics["exact_match"] for o in outcomes if o.filter == "strict-match"]
    assert found["exact_match_stderr,strict-match"] == pytest.approx(mean_stderr(values))


@pytest.mark.parametrize("task", ["lab_gsm8k", "lab_arc", "lab_circuit"])
def test_exported_samples_are_lm_evals(runs, task):
    names = {p.name.split("_2")[0].removeprefix("samples_") for p in (runs / "theirs" / "lab").glob("samples_*")}
    for name in (n for n in names if n.startswith(task)):
        ours, theirs = rows_of(runs / "exported" / "lab-base__base", name), rows_of(runs / "theirs" / "lab", name)
        assert ours.keys() == theirs.keys()
        for key, row in theirs.items():
            own = ours[key]
            same = ("doc_id", "doc", "doc_hash", "prompt_hash", "target_hash", "target", "filter", "metrics")
            for field in (*same, *row["metrics"]):
                assert own[field] == pytest.approx(row[field]) if field == "logit_diff" else own[field] == row[field], (
                    field
                )
            assert [next(iter(a.values())) for a in own["arguments"].values()] == [
                next(iter(a.values())) for a in row["arguments"].values()
            ]
            if task == "lab_gsm8k":
                assert own["resps"] == row["resps"]
                assert own["filtered_resps"] == row["filtered_resps"]


def test_a_run_of_lm_evals_becomes_a_row(runs, tmp_path, capsys):
    store = Store(tmp_path / "r")
    for cell in Store(runs / "ours"):
        store.put(cell, Store(runs / "ours").outcomes(cell.name))
    arguments = ["import", str(runs / "theirs"), "--results", str(tmp_path / "r"), "--model", "lab-base"]
    assert main([*arguments, "--variant", "lm_eval"]) == 0
    assert "lab-base/lm_eval/lab_gsm8k: exact_match,strict-match" in capsys.readouterr().out
    table = build_table(tmp_path / "r")
    row = {r.variant: r for r in table.rows}["lm_eval"]
    assert "lm-eval" in row.touched
    # The same weights on the same documents: nothing gained, nothing lost, nothing left unpaired.
    compared = {task: e.pairing for task, e in row.entries.items()}
    assert {"lab_gsm8k", "lab_arc", "ioi"} <= set(compared)
    for task, pairing in compared.items():
        assert pairing.comparison is not None, task
        assert (pairing.comparison.gained, pairing.comparison.lost, pairing.unpaired) == (0, 0, 0), task
        assert row.entries[task].result.n == table.rows[0].entries[task].result.n
    assert main([str(tmp_path / "r"), "--html", "--out", str(tmp_path / "html")]) == 0
    assert main([str(tmp_path / "r")]) == 0


def test_what_is_exported_can_be_imported_again(runs, tmp_path):
    (path,) = (runs / "exported" / "lab-base__oproj_zeroed").glob("results_*.json")
    cells = {c.name.task: c for c in import_run(path, tmp_path, "m", "v")}
    for task in ("lab_gsm8k", "lab_arc", "ioi"):
        then = Store(runs / "ours").outcomes(CellName("lab-base", "oproj_zeroed", task))
        now = Store(tmp_path).outcomes(cells[task].name)
        for one, other in zip(then, now, strict=True):
            for field in (
                "subtask",
                "doc_id",
                "doc_hash",
                "prompt_hash",
                "filter",
                "metrics",
                "prediction",
                "response",
                "cluster",
            ):
                assert getattr(one, field) == getattr(other, field), field
        assert cells[task].score == Store(runs / "ours").get(CellName("lab-base", "oproj_zeroed", task)).score


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: [p.unlink() for p in f.glob("samples_*")], "run lm_eval with --log_samples"),
    (lambda f: next(f.glob("results_*")).write_text("{}"), "holds no results of lm-eval: it has no results"),
    (lambda f: next(f.glob("samples_lab_gsm8k_*")).write_text("{\n"), "line 1 is not a sample"),
    (lambda f: next(f.glob("samples_lab_gsm8k_*")).write_text('{"doc_id": 3}\n'), "document 3 is not a sample"),
    (lambda f: [p.unlink() for p in f.glob("results_*")], "no results_*.json of lm_eval there"),
])  # fmt: skip
def test_runs_that_cannot_be_read(runs, tmp_path, capsys, damage, message):
    shutil.copytree(runs / "theirs" / "lab", tmp_path / "lab")
    damage(tmp_path / "lab")
    arguments = ["import", str(tmp_path / "lab"), "--results", str(tmp_path / "r"), "--model", "m", "--variant", "v"]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def changed(folder, change):
    (path,) = folder.glob("samples_lab_gsm8k_*")
    rows = [json.loads(line) for line in path.read_text().rstrip("\n").split("\n")]
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))


def flip(rows):
    rows[0]["exact_match"] = 1.0 - rows[0]["exact_match"]
    return rows


@pytest.mark.parametrize(("damage", "message"), [
    (lambda f: changed(f, lambda rows: [r for r in rows if r["doc_id"] < 5]), r"holds 5 documents, .* speak of 12"),
    (lambda f: changed(f, flip), r"samples_lab_gsm8k.*: exact_match,.* on average, and the run's results say"),
    (lambda f: next(f.glob("samples_lab_arc_*")).unlink(), "speaks of lab_arc, and no samples of it"),
])  # fmt: skip
def test_samples_that_are_not_those_of_the_results(runs, tmp_path, damage, message):
    run = tmp_path / "run"
    shutil.copytree(runs / "exported" / "lab-base__base", run)
    damage(run)
    with pytest.raises(ValueError, match=message):
        import_run(run, tmp_path / "r", "m", "v")
    assert not (tmp_path / "r" / "cells").exists()


def test_an_imported_row_before_or_in_the_place_of_our_own(runs, tmp_path, capsys):
    ours = Store(runs / "ours")
    run = runs / "exported" / "lab-base__base"
    options = ["--results", str(tmp_path), "--model", "lab-base"]
    assert main(["import", str(run), *options, "--variant", "base"]) == 0
    for cell in ours:
        if cell.name.variant != "base":
            Store(tmp_path).put(cell, ours.outcomes(cell.name))
    assert main([str(tmp_path)]) == 0
    with (tmp_path / "table.csv").open() as file:
        rows = {(row["variant"], row["task"]): row for row in csv.DictReader(file)}
    assert rows["base", "lab_gsm8k"]["requests"] == ""
    assert int(rows["oproj_zeroed", "lab_gsm8k"]["requests"]) > 0
    capsys.readouterr()
    assert main(["import", str(run), *options, "--variant", "oproj_zeroed"]) == 0
    told = f"lab-base/oproj_zeroed/lab_gsm8k was there already: that cell now lies in {tmp_path / 'replaced'}"
    assert told in capsys.readouterr().out
    assert len(list((tmp_path / "replaced").rglob("lab_gsm8k.json"))) == 1
    assert main(["import", str(run), *options, "--variant", "../evil"]) == 2
    assert "the name of a row, without a slash" in capsys.readouterr().err


def test_a_metric_that_is_not_told(runs, tmp_path):
    with pytest.raises(ValueError, match=r"no metric 'f1,none'; say --metric NAME,FILTER: it has acc,none"):
        import_run(runs / "theirs", tmp_path, "m", "v", "f1,none")


def test_nothing_to_export(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "o")]) == 2
    assert "holds no stored cells" in capsys.readouterr().err


def test_two_tasks_that_are_one_of_lm_evals_are_two_runs(tmp_path):
    from report.test_against import put

    put(tmp_path / "r", "base", lambda i: True, n=5, task="t", shots={"gsm8k": 0})
    put(tmp_path / "r", "base", lambda i: False, n=5, task="u", shots={"gsm8k": 5})
    paths = export_cells(tmp_path / "r", tmp_path / "o")
    assert sorted(p.parent.name for p in paths) == ["m__base", "m__base__u"]


def test_runs_of_several_models_are_not_mixed_up(runs, tmp_path):
    for name in ("aaa", "zzz"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results_2026.json").write_text("{}")
    with pytest.raises(ValueError, match=r"holds runs of several models \(aaa, zzz\)"):
        import_run(tmp_path, tmp_path / "r", "m", "v")
