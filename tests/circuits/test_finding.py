"""Circuits from the command line to the file, and the pages of several of them."""

import json
import shutil

import pytest
import torch

from harness.circuits.artifact import CircuitFile
from harness.circuits.discover import main as discover
from harness.circuits.nodes import Head
from harness.circuits.study import main as study
from harness.lab.planted import TRUTH, save

QUICK = ["prompts.find=30", "prompts.verify=30", "prompts.means=40", "nulls=5", "subsets=2", "grid=[0,99,9]"]
RULE = ["threshold.rule=absolute", "threshold.least=0.02"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "planted"
    save(folder)
    return folder


def test_a_circuit_is_found_and_written(planted, tmp_path, capsys):
    given = [f"model={planted}", "task=induction", f"reference={planted / 'reference.json'}", f"out={tmp_path}"]
    assert discover([*given, "method=path_patching", *QUICK, *RULE]) == 0
    out = capsys.readouterr().out
    assert "circuit: 0.2 0.5 2.1 2.6 3.3" in out
    assert "100.0, 100.0, 100.0" in out, "TPR, precision and IoU against the truth"
    folder = tmp_path / "planted" / "induction" / "path_patching"
    for name in ("circuit.json", "means.safetensors", "circuit.png", "circuit.svg"):
        assert (folder / name).stat().st_size > 0
    record = json.loads((folder / "circuit.json").read_text())
    assert record["prompts"]["source"] == "lab", "the lab's tokenizer is known by itself"
    assert record["verified"]["size"] == 5 and record["reference"]["tpr"] == 1.0
    assert set(record["cost"]["passes"]) == {"trace", "frozen", "effect"}
    assert record["config"]["threshold"]["rule"] == "absolute" and record["seed"] == 0
    file = CircuitFile.load(folder)
    assert {(h.layer, h.head) for h in file.heads} == set(TRUTH) and file.whole.shape == (4, 8, 16)


def test_a_search_that_is_repeated_reads_what_it_has(planted, tmp_path, capsys):
    given = [f"model={planted}", "task=induction", f"out={tmp_path}", "method=path_patching", "figure=false"]
    assert discover([*given, *QUICK, *RULE]) == 0
    first = json.loads((tmp_path / "planted/induction/path_patching/circuit.json").read_text())
    assert discover([*given, *QUICK, *RULE]) == 0
    second = json.loads((tmp_path / "planted/induction/path_patching/circuit.json").read_text())
    assert second["edges"] == first["edges"] and second["heads"] == first["heads"]
    assert second["cost"]["passes"] == first["cost"]["passes"]
    assert discover([*given, *QUICK, "threshold.rule=top", "threshold.count=1"]) == 0
    other = json.loads((tmp_path / "planted/induction/path_patching/circuit.json").read_text())
    assert len(list((tmp_path / "planted/induction/path_patching").glob("*.edges.jsonl"))) == 2
    assert other["cost"]["passes"]["frozen"] < first["cost"]["passes"]["frozen"], "another search has a cost of its own"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["task=sva"], "unknown circuit task 'sva'; known: ioi"),
        (["task=ioi", "method=eap"], "unknown circuit method 'eap'; known: path_patching"),
        (["task=ioi", "threshold.rule=std"], "unknown threshold rule 'std'"),
        (["task=ioi", "threshold.q=1"], "q"),
        (["task=ioi", "ablation=mean"], "unknown ablation 'mean'"),
        (["task=ioi", "grid=[0,99]"], "expected first, last and step"),
        (["task=ioi", "reference=docstring"], "reference docstring is a circuit of docstring"),
        (["task=ioi", "reference=ioi"], "the model has 4 layers of 4 heads"),
        (["task=ioi", "reference=nowhere.json"], "is no file and none of ioi"),
        (["task=ioi", "model=nothing"], "unknown model"),
        (["task=ioi", "metric=ld"], "unknown metric 'ld'"),
        (["task=ioi", "metric=sharpness"], "no cut-off"),
        (["task=ioi", "metric=accuracy", "method=attribution"], "metric accuracy has no slope"),
        (["task=ioi", "metric=kl", "method=attribution_ig"], "metric kl has no slope"),
        (["task=ioi", "nulls=-1"], "nulls -1: at least 0"),
        (["task=ioi", "batch_tokens=0"], "batch_tokens 0: at least 1"),
        (["task=ioi", "largest=0"], "largest 0: expected a share above 0"),
        (["task=ioi", "threshold.count=0"], "count (it is 0) is at least 1"),
        (["task=x", "prompts.file=nowhere.json"], "cannot be read"),
        (["task"], "expected key=value"),
    ],
)
def test_mistakes_are_said(tmp_path, capsys, given, message):
    assert discover([*QUICK, *given, f"out={tmp_path}"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("circuit.json"))


def test_a_model_that_does_not_do_the_task(tmp_path, capsys):
    """The planted model repeats words; it knows nothing of names."""
    save(tmp_path / "planted")
    assert discover([f"model={tmp_path / 'planted'}", "task=pronouns", f"out={tmp_path / 'o'}", *QUICK]) == 2
    assert "does not do the task" in capsys.readouterr().err


def test_half_precision(tmp_path):
    """bfloat16 drowns small effects, but nothing breaks; means are kept in float32."""
    given = ["task=induction", "dtype=bfloat16", "method=flap", "figure=false", f"out={tmp_path}"]
    assert discover([*given, *QUICK]) == 0
    assert CircuitFile.load(tmp_path / "lab-base" / "induction" / "flap").whole.dtype == torch.float32


def test_kl_of_the_model_is_nothing_to_divide_by(tmp_path):
    given = ["task=induction", "metric=kl", "method=path_patching", "figure=false", f"out={tmp_path}"]
    assert discover([*given, *QUICK, *RULE]) == 0
    text = (tmp_path / "lab-base" / "induction" / "path_patching" / "circuit.json").read_text()
    assert "Infinity" not in text and json.loads(text)["verified"]["raw"] is None


def test_a_page_holds_one_model(planted, tmp_path):
    given = ["tasks=[induction]", "methods=[path_patching]", "controls=false", f"out={tmp_path}", *QUICK, *RULE]
    assert study([f"model={planted}", *given]) == 0
    (tmp_path / "ioi").mkdir()
    (tmp_path / "ioi" / "section.md").write_text("<!-- another -->\n## ioi\n\nof another model\n")
    assert study([f"model={planted}", *given]) == 0
    page = (tmp_path / "circuits.md").read_text()
    assert "of another model" not in page and "## induction" in page and "<!--" not in page


def test_a_study_writes_one_page(planted, tmp_path, capsys):
    methods = ["path_patching", "flap", "app"]
    given = [f"model={planted}", "tasks=[induction,pronouns]", f"methods=[{','.join(methods)}]", f"out={tmp_path}"]
    assert study([*given, f"references.induction={planted / 'reference.json'}", *QUICK, *RULE]) == 0
    page = (tmp_path / "circuits.md").read_text()
    rows = {line.split("|")[1].strip(): line.split("|") for line in page.splitlines() if line.startswith("| ")}
    assert "planted: its weights were written so" in page
    assert "No circuit was looked for: logit_diff is" in page.split("## pronouns")[1]
    assert {"path patching", "FLAP", "APP"} <= set(rows)
    assert "x the FLOPs" in page and "curves.png" in page
    for method in methods:
        assert (tmp_path / "induction" / method / "circuit.json").is_file()
    assert (tmp_path / "induction" / "curves.svg").is_file()
    assert "![" in page and all((tmp_path / text.split(")")[0]).is_file() for text in page.split("](")[1:]), (
        "every picture of the page is there"
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tasks=[sva]"], "unknown circuit task 'sva'"),
        (["methods=[]"], "no circuit methods; known"),
        (["tasks=[ioi]", "references.docstring=docstring"], "that task is not among ioi"),
        (["prompts.file=x.json"], "is for one circuit"),
    ],
)
def test_mistakes_of_a_study(tmp_path, capsys, given, message):
    assert study([*given, f"out={tmp_path}"]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_was_altered(planted, tmp_path):
    file = CircuitFile((Head(0, 1), Head(1, 0)), (2, 2), "abc", {"task": "ioi"}, torch.ones(2, 2, 4))
    file.save(tmp_path / "c")
    again = CircuitFile.load(tmp_path / "c" / "circuit.json")
    assert again.heads == file.heads and torch.equal(again.whole, file.whole) and again.record["task"] == "ioi"
    CircuitFile((), (2, 2), "abc", {}, torch.zeros(2, 2, 4)).save(tmp_path / "d")
    shutil.copy(tmp_path / "d" / "means.safetensors", tmp_path / "c" / "means.safetensors")
    with pytest.raises(ValueError, match="does not match the digest"):
        CircuitFile.load(tmp_path / "c")
    text = (tmp_path / "d" / "circuit.json").read_text()
    for old, new, message in (
        ('"format": 1', '"format": 9', "this version reads 1"),
        ('"heads": []', '"heads": ["7.0"]', "head 7.0 of a model with 2 layers"),
        ('"heads": []', '"heads": 3', "is no circuit"),
    ):
        (tmp_path / "d" / "circuit.json").write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            CircuitFile.load(tmp_path / "d")
    with pytest.raises(ValueError, match="is no circuit"):
        CircuitFile.load(tmp_path / "nothing")
