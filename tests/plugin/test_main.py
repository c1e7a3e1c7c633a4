"""``python -m harness``: the same grid through Hydra."""

import os
import subprocess
import sys

import pytest

from harness.evaluation.store import Store

SMALL = ("tasks=[ioi]", "limit=5", "results.dir=r", "runtime.device=cpu")


def main(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, env=environment
    )


def test_run_writes_cells_and_table_and_the_second_run_nothing(tmp_path):
    done = main(tmp_path, "model=lab-base", "variants=[base,oproj_zeroed]", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "[2/2] lab-base/oproj_zeroed/ioi ... acc" in done.stdout
    assert (tmp_path / "r" / "table.md").is_file()
    done = main(tmp_path, "model=lab-base", "variants=[base,oproj_zeroed]", *SMALL)
    assert "0 cells run, 2 stored already" in done.stdout


def test_multirun_sweeps_any_key_into_one_table(tmp_path):
    done = main(tmp_path, "-m", "variants=[base,oproj_zeroed]", "variant.layers=0:2,2:4", *SMALL)
    assert done.returncode == 0, done.stderr + done.stdout
    names = {r.name.variant for r in Store(tmp_path / "r")}
    assert names == {"base", "oproj_zeroed(layers=0:2)", "oproj_zeroed(layers=2:4)"}
    assert "oproj_zeroed(layers=2:4)" in (tmp_path / "r" / "table.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("variants=[nothing]",), "error: unknown variant 'nothing'"),
        (("vriants=[base]",), "vriants"),
        (("data=disk",), "hub"),
        (("gates.ioi.above=x", "tasks=[ioi]"), "error: gates.ioi: 'x'"),
    ],
)
def test_mistakes_end_with_a_sentence_not_a_traceback(tmp_path, arguments, text):
    done = main(tmp_path, *arguments)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_export_writes_a_plain_model(tmp_path):
    from transformers import AutoModelForCausalLM

    done = main(tmp_path, "variants=[layers_removed]", "baseline=layers_removed", "export=out", *SMALL)
    assert done.returncode == 0, done.stderr
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "lab-base" / "layers_removed")
    assert model.config.num_hidden_layers == 3


def test_failed_gate_is_an_exit_status(tmp_path):
    done = main(tmp_path, "gates.ioi.min=1.1", *SMALL)
    assert done.returncode != 0
    assert "score" in done.stdout
    assert "1 cells did not pass" in done.stderr
