# ruff: noqa: E501
"""Files of every kind, damaged or made up: each ends in a sentence or in its rows, and none runs code."""

import gzip
import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from harness.config.compose import compose_run, compose_task
from harness.config.specs import compose_variant
from harness.data import read_rows
from harness.evaluation.cells import FORMAT, CellName
from harness.evaluation.parts import PartStore, cut
from harness.evaluation.store import Store
from harness.models import check_folder
from harness.patch import Patch
from harness.report import build_table

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
BYTES = st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()) | st.just(b"[" * 100_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def cell_file(folder, content):
    path = Store(folder).path(CellName("m", "v", "t"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


WHOLE = {
    "format": FORMAT, "name": {"model": "m", "variant": "v", "task": "t"}, "digest": "d", "identity": {}, "metric": "acc",
    "filter": "none", "chance": 0.0, "score": 0.5, "n": 1, "scores": {}, "groups": {}, "counts": {}, "seconds": 1.0,
    "finished": "", "patch": {}, "settings": {},
}  # fmt: skip
OUTCOME = {
    "subtask": "t", "doc_id": 0, "doc_hash": "", "prompt_hash": "", "filter": "none", "prediction": 1, "response": None,
    "metrics": {"acc": 1.0}, "cluster": None, "generated_tokens": 0,
}  # fmt: skip


@FEW
@given(content=BYTES)
def test_cells_of_any_bytes(folder, content):
    cell_file(folder, content)
    results, problems = Store(folder).readable()
    assert not results
    assert "is not a stored cell" in problems[0]
    with pytest.raises(ValueError, match="holds no stored cells"):
        build_table(folder)


@FEW
@given(key=st.sampled_from(sorted(WHOLE)), value=JSON)
def test_cells_with_any_value_in_any_field(folder, key, value):
    path = cell_file(folder, json.dumps({**WHOLE, key: value}).encode())
    path.with_suffix(".jsonl").write_text(json.dumps(OUTCOME) + "\n")
    results, problems = Store(folder).readable()
    assert len(results) + len(problems) == 1


@FEW
@given(key=st.sampled_from(sorted(OUTCOME)), value=JSON)
def test_outcomes_with_any_value_in_any_field(folder, key, value):
    path = cell_file(folder, json.dumps(WHOLE).encode())
    path.with_suffix(".jsonl").write_text(json.dumps({**OUTCOME, key: value}) + "\n")
    results, problems = Store(folder).readable()
    assert len(results) + len(problems) == 1
    if problems:
        assert "line 1 is not an outcome" in problems[0]


@FEW
@given(content=BYTES)
def test_parts_of_any_bytes_are_run_again(folder, content):
    store = PartStore(folder / "parts")
    store.folder.mkdir(exist_ok=True)
    (store.folder / "cut.json").write_bytes(content)
    assert store.cut(100, 3) == cut(100, 3)
    part = cut(100, 3)[0]
    (store.folder / f"{part.start:06d}-{part.stop:06d}.jsonl").write_bytes(content)
    assert store.get(part) is None


@FEW
@given(content=BYTES)
def test_failures_of_any_bytes_do_not_hide_the_table(folder, content):
    path = folder / "f" / "failed" / "m" / "v" / "t.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no stored cells.*is not a stored failure"):
        build_table(folder / "f")


@FEW
@given(record=BYTES, tensors=BYTES)
def test_patches_of_any_bytes(folder, record, tensors):
    target = folder / "patch"
    target.mkdir(exist_ok=True)
    (target / "patch.json").write_bytes(record)
    (target / "patch.safetensors").write_bytes(tensors)
    with pytest.raises(ValueError, match="is not a saved patch"):
        Patch.load(target)


@FEW
@given(field=st.sampled_from(["format", "digest", "kept_layers", "untied", "config_edits", "provenance"]), value=JSON)
def test_patches_with_any_value_in_any_field(tmp_path_factory, field, value):
    target = tmp_path_factory.mktemp("p") / "patch"
    patch = Patch({"w": torch.ones(2)})
    patch.save(target)
    record = json.loads((target / "patch.json").read_text())
    (target / "patch.json").write_text(json.dumps({**record, field: value}))
    try:
        assert Patch.load(target).digest == patch.digest
    except ValueError as error:
        assert str(target) in str(error)


@FEW
@given(content=BYTES, suffix=st.sampled_from([".jsonl", ".jsonl.gz", ".parquet"]), packed=st.booleans())
def test_data_files_of_any_bytes(tmp_path_factory, content, suffix, packed):
    folder = tmp_path_factory.mktemp("data")
    (folder / f"test{suffix}").write_bytes(gzip.compress(content) if packed else content)
    try:
        rows = read_rows(folder, "test", "x/y", None, "t")
    except ValueError as error:
        assert f"test{suffix}" in str(error)
    else:
        assert all(isinstance(row, dict) for row in rows)


@FEW
@given(header=BYTES, rest=st.binary(max_size=20))
def test_weight_files_of_any_bytes(tmp_path_factory, header, rest):
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + rest)
    try:
        check_folder(folder)
    except ValueError as error:
        assert "model.safetensors" in str(error)


@settings(FEW, max_examples=8)  # each takes Hydra a while
@given(content=JSON | st.text(max_size=40), group=st.sampled_from(["task", "variant"]))
def test_configs_of_any_content(tmp_path_factory, content, group):
    folder = tmp_path_factory.mktemp("conf")
    (folder / group).mkdir()
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / group / "odd.yaml").write_text(text, encoding="utf-8", errors="replace")
    os.environ["HARNESS_CONF"] = str(folder)
    try:
        compose_task("odd", {}) if group == "task" else compose_variant("odd", None, {})
    except ValueError as error:
        assert str(error)
    finally:
        del os.environ["HARNESS_CONF"]


@FEW
@given(st.lists(st.text(alphabet="abcdefgh_.=,+~:{}[]()'\"$ 01@/\\-", max_size=20), max_size=3))
def test_overrides_of_any_text(overrides):
    try:
        compose_run(overrides)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    "text",
    [
        "_target_: os.system\n_args_: ['touch PWNED']",
        "lm_eval: !!python/object/apply:os.system ['touch PWNED']",
        "metric: ${oc.env:HOME}${python:os.system('touch PWNED')}",
    ],
)
@pytest.mark.parametrize("group", ["task", "variant", "models"])
def test_no_code_runs_from_a_config(tmp_path, monkeypatch, text, group):
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "odd.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        if group == "models":
            from harness.config.compose import compose_model

            compose_model("odd")
        else:
            compose_task("odd", {}) if group == "task" else compose_variant("odd", None, {})
    assert not list(Path(tmp_path).rglob("PWNED"))


def test_no_code_runs_from_weights(tmp_path):
    sizes = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 8,
    }
    config = {"model_type": "odd", "auto_map": {"AutoModelForCausalLM": "evil.Evil"}, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("open('PWNED', 'w')")
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    from harness.models import ModelRef, load_model

    with pytest.raises(ValueError, match="odd"):
        load_model(ModelRef("odd", str(tmp_path)))
    assert not Path("PWNED").exists()
    assert not (tmp_path / "PWNED").exists()
