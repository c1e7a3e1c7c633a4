"""Real pytest sessions on the lab models."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from harness.config.paths import SUITES
from harness.evaluation.store import Store

SMALL = ("--tasks", "ioi,lab_arc", "--limit", "6", "--set", "runtime.device=cpu")


def pytest_run(folder, *arguments, **options):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(SUITES), *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env={**environment, **options.pop("env", {})}, **options
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One session that several tests look at."""
    folder = tmp_path_factory.mktemp("session")
    done = pytest_run(folder, *SMALL, "--variants", "base,oproj_zeroed", "--results", "r", "-v")
    return folder, done


def test_every_cell_is_a_case_with_its_score(finished):
    folder, done = finished
    assert done.returncode == 0, done.stdout
    for case in ("test_ioi[lab-base-base]", "test_ioi[lab-base-oproj_zeroed]", "test_lab_arc[lab-base-base]"):
        assert re.search(re.escape(f"::{case} PASSED acc ") + r"[\d.]+ \(n=6, ", done.stdout)
    assert "4 passed" in done.stdout
    assert "skipped" not in done.stdout
    shown = {p.name for p in (folder / "r").iterdir() if not p.name.startswith(".")}
    assert shown == {"asked", "cells", "logs", "table.md", "table.csv", "table.json", "table.tex"}
    assert "lab-base/oproj_zeroed/ioi: acc" in (folder / "r" / "logs" / "main.log").read_text()


def test_a_second_run_evaluates_nothing_and_says_so(finished):
    folder, _ = finished
    before = (folder / "r" / "table.csv").read_text()
    done = pytest_run(folder, *SMALL, "--variants", "base,oproj_zeroed", "--results", "r")
    assert done.returncode == 0, done.stdout
    assert "0 cells run, 4 stored already" in done.stdout
    assert (folder / "r" / "table.csv").read_text() == before
    assert not (folder / "r" / "replaced").exists()


@pytest.mark.slow
def test_workers_give_the_same_outcomes_and_keep_their_logs(finished, tmp_path):
    folder, _ = finished
    done = pytest_run(tmp_path, *SMALL, "--variants", "base,oproj_zeroed", "--results", "r", "-n", "2")
    assert done.returncode == 0, done.stdout
    one, two = (sorted((f / "r" / "cells").rglob("*.jsonl")) for f in (folder, tmp_path))
    assert [p.read_text() for p in one] == [p.read_text() for p in two]
    logs = "".join(p.read_text() for p in (tmp_path / "r" / "logs").glob("gw*.log"))
    assert logs.count(" s\n") >= 4
    cell = json.loads(next((tmp_path / "r" / "cells").rglob("ioi.json")).read_text())
    assert cell["settings"]["command"].startswith("pytest ")
    assert cell["settings"]["command"].endswith("-n 2")


@pytest.mark.slow
def test_changed_settings_run_again_and_keep_the_old(finished, tmp_path):
    pytest_run(tmp_path, "--tasks", "ioi", "--limit", "4", "--results", "r")
    done = pytest_run(tmp_path, "--tasks", "ioi", "--limit", "5", "--results", "r")
    assert "1 cells run, 0 stored already" in done.stdout
    assert [r.n for r in Store(tmp_path / "r")] == [5]
    assert len(list((tmp_path / "r" / "replaced").rglob("ioi.json"))) == 1


def test_collect_only_and_k_load_no_model(tmp_path):
    started = time.monotonic()
    done = pytest_run(
        tmp_path, "--collect-only", "-q", "-k", "oproj", "--variants", "base,oproj_merged,mlp_zeroed", "--results", "r"
    )
    assert time.monotonic() - started < 60
    lines = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(lines) == 6
    assert all("[lab-base-oproj_merged]" in line for line in lines)
    assert not (tmp_path / "r" / "cells").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--variants", "oproj_merge"), "unknown variant 'oproj_merge'. Did you mean oproj_merged"),
        (("--tasks", "gsm"), "unknown task or suite 'gsm'"),
        (("--model", "nowhere"), "unknown model 'nowhere'"),
        (("--set", "limt=3"), "Keys: model, variants, tasks"),
        (("--set", "variant.layers=0:1"), "no chosen variant or task has the setting variant.layers"),
        (("--set", "data=mirror", "--set", "data.root=/nowhere"), "data.root '/nowhere' is not a folder"),
    ],
)
@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)])
def test_mistakes_fail_at_collection(tmp_path, arguments, text, workers):
    done = pytest_run(tmp_path, *arguments, *workers)
    assert done.returncode == 4
    assert text in done.stdout + done.stderr
    assert not list(tmp_path.iterdir())


def test_dry_run_prints_plans_and_runs_nothing(tmp_path):
    done = pytest_run(
        tmp_path, "--dry-run", "--tasks", "ioi", "--variants", "base,oproj_merged,layers_removed", "--results", "r"
    )
    assert done.returncode == 0, done.stdout
    assert "lab-reasoner" in done.stdout
    assert "layers kept: [1, 2, 3]" in done.stdout
    assert not (tmp_path / "r" / "cells").exists()


def test_gates_decide(tmp_path):
    base = ("--tasks", "ioi", "--variants", "base,mlp_zeroed", "--limit", "60", "--results", "r")
    gates = ("--set", "gates.ioi.not_below=base", "--set", "gates.ioi.margin=0.05")
    done = pytest_run(tmp_path, *base, *gates)
    assert done.returncode == 1
    assert re.search(r"not_below base - 0.05 is (contradicted|unresolved): difference -0\.\d+", done.stdout)
    assert "1 failed, 1 passed" in done.stdout
    assert (tmp_path / "r" / "table.md").is_file()


def test_data_errors_fail_the_case_in_one_line(tmp_path):
    done = pytest_run(
        tmp_path, "--tasks", "gsm8k", "--set", "data=mirror", "--set", f"data.root={tmp_path}", "--results", "r"
    )
    assert done.returncode == 1
    assert "task gsm8k: split 'train' of data set 'openai/gsm8k'" in done.stdout
    assert "Traceback" not in done.stdout
    assert not list((tmp_path / "r" / "cells").rglob("*.json*"))


@pytest.mark.slow
def test_a_task_needs_only_its_yaml_and_a_suite_three_lines(tmp_path):
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "my_ioi.yaml").write_text(
        "lm_eval: ioi\nfolder: ioi\nmetric: logit_diff,none\ncluster: template\n"
    )
    done = pytest_run(tmp_path, "--tasks", "my_ioi", "--limit", "5", "--results", "r", "-v")
    assert "test_task[my_ioi-lab-base-base] PASSED logit_diff" in done.stdout, done.stdout
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "test_mine.py").write_text(
        "import pytest\n@pytest.mark.task('my_ioi')\ndef test_mine(cell):\n    cell.run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "suites", "--tasks", "my_ioi", "--limit", "5", "--results", "r", "-v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "test_mine[lab-base-base] PASSED logit_diff" in done.stdout, done.stdout
    assert "stored" in done.stdout


@pytest.mark.slow
def test_interrupted_run_goes_on_to_the_table_of_an_uninterrupted_one(tmp_path):
    """Ctrl-C in the middle of a cell that takes seconds; then the same command again."""
    tasks = ["--tasks", "ioi,lab_gsm8k", "--limit", "100", "--set", "runtime.device=cpu"]
    arguments = [*tasks, "--variants", "base,oproj_zeroed", "--results", "r"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", str(SUITES), *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell that starts this in the background has Ctrl-C ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def log():
        return "".join(p.read_text() for p in (tmp_path / "r" / "logs").glob("*.log"))

    deadline = time.monotonic() + 120
    while "oproj_zeroed/lab_gsm8k: documents" not in log() and time.monotonic() < deadline:
        time.sleep(0.02)
    # Not between two tests: pytest itself falls over an interrupt in some lines of its own.
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    whole = [json.loads(p.read_text()) for p in (tmp_path / "r" / "cells").rglob("*.json")]
    assert 1 <= len(whole) < 4
    done = pytest_run(tmp_path, *arguments)
    assert f"{4 - len(whole)} cells run, {len(whole)} stored already" in done.stdout
    drop = {"seconds", "finished", "settings"}

    def outcome(folder):
        records = [json.loads(p.read_text()) for p in sorted((folder / "cells").rglob("*.json"))]
        return [{k: v for k, v in r.items() if k not in drop} for r in records]

    pytest_run(tmp_path, *arguments[:-1], "undisturbed")
    assert len(outcome(tmp_path / "r")) == 4
    assert outcome(tmp_path / "r") == outcome(tmp_path / "undisturbed")


def test_results_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    done = pytest_run(tmp_path, "--tasks", "ioi", "--results", "file/r")
    assert done.returncode == 4
    assert "results folder file/r cannot be written" in done.stdout + done.stderr
    assert "INTERNALERROR" not in done.stdout + done.stderr


def test_fixtures_of_the_same_name_are_left_alone(pytester):
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def cell():
            return 5

        def test_it(cell):
            assert cell == 5
        """
    )
    pytester.runpytest_subprocess("--limit", "3", "--results", "r").assert_outcomes(passed=1)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_replaced_task_settings_are_in_the_label_and_the_suite_runs_them(tmp_path):
    done = pytest_run(
        tmp_path, "--tasks", "lab_arc", "--limit", "4", "--set", "task.num_fewshot=1", "--results", "r", "-v"
    )
    assert "::test_lab_arc[lab-base-base] PASSED" in done.stdout, done.stdout
    assert [r.name.task for r in Store(tmp_path / "r")] == ["lab_arc(num_fewshot=1)"]


def test_other_sessions_are_left_alone(pytester):
    pytester.makepyfile("def test_it(): pass\ndef test_other(): pass")
    result = pytester.runpytest_subprocess("-v", "-k", "test_it")
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    result.stdout.no_fnmatch_line("*variant-harness:*")
    assert not (pytester.path / "results").exists()
