"""Trackers told for real: MLflow on a local store, Weights & Biases offline."""

import json
import sys

import pytest
from report.html_support import fill

from harness.config.compose import compose_run
from harness.evaluation.grid import plan_grid
from harness.report import build_table, write_pages
from harness.report.__main__ import main
from harness.report.loggers import LOGGERS, log_table, logged_rows, tell


@pytest.fixture
def table(tmp_path):
    table = build_table(fill(tmp_path / "run"))
    write_pages(table)
    return table


def test_every_row_is_a_run_with_the_tables_numbers(table):
    rows = {r.name: r for r in logged_rows(table)}
    assert set(rows) == {f"m/{row.variant}" for row in table.rows}
    for row in table.rows:
        logged = rows[f"m/{row.variant}"]
        for task, entry in row.entries.items():
            assert logged.numbers[f"{task}/score"] == entry.score.value
            if row.variant != "base":
                assert logged.numbers[f"{task}/difference"] == entry.pairing.comparison.difference.value
                assert logged.numbers[f"{task}/resolved"] == {"gain": 1, "regression": -1}.get(entry.verdict, 0)
        assert [p.name for p in logged.files] == ["table.md"]


def test_mlflow_keeps_what_it_was_told(table, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)  # artifacts of a local store lie below the working directory
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert main(["log", str(table.folder), "--to", "mlflow", "--project", "surgery", "--uri", uri]) == 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("surgery")
    stored = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(stored) == {r.name for r in logged_rows(table)}
    for row in logged_rows(table):
        run = stored[row.name]
        assert run.info.status == "FINISHED"
        assert run.data.metrics == pytest.approx(row.numbers)
        assert run.data.params == {k: str(v) for k, v in row.settings.items()}
        assert [f.path for f in client.list_artifacts(run.info.run_id)] == ["table.md"]


def test_wandb_writes_for_a_later_sync(table, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_table(table, "wandb", "surgery", str(tmp_path / "w"))
    runs = list((tmp_path / "w").glob("**/*.wandb"))
    assert len(runs) == len(logged_rows(table))
    assert any(b"table.md" in p.read_bytes() or list(p.parent.glob("**/table.md")) for p in runs)


def test_trackio_is_told(table, monkeypatch):
    """Its own library where it is installed would start a server: the calls are what is checked here."""
    calls = []

    class Trackio:
        init = staticmethod(lambda **keys: calls.append(("init", keys["project"], keys["name"])))
        log = staticmethod(lambda numbers: calls.append(("log", len(numbers))))
        finish = staticmethod(lambda: calls.append(("finish",)))

    monkeypatch.setitem(sys.modules, "trackio", Trackio)
    assert log_table(table, "trackio", "surgery") == 4
    assert calls[:3] == [("init", "surgery", "m/base"), ("log", 10), ("finish",)]


@pytest.mark.parametrize("name", list(LOGGERS))
def test_a_tracker_that_is_not_installed_is_named(table, monkeypatch, name, capsys):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["log", str(table.folder), "--to", name]) == 2
    assert f"{name} is not installed: pip install {name}" in capsys.readouterr().err


def test_a_tracker_that_fails_takes_nothing_with_it(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    log = compose_run(["log.to=[mlflow]"]).log
    assert tell(table, log) == ["error: mlflow was not told: mlflow is not installed: pip install mlflow"]
    assert json.loads((table.folder / "table.json").read_text())["cells"]


def test_unknown_trackers_are_named_before_anything_runs():
    with pytest.raises(ValueError, match=r"unknown log\.to 'mlfow'. Did you mean mlflow"):
        plan_grid(compose_run(["log.to=[mlfow]"]))
