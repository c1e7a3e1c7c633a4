import json
import struct

import pytest
import torch
from conftest import tiny

from harness.models import ModelRef, check_folder, load_model


@pytest.fixture
def folder(tmp_path):
    tiny("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_whole_folder_passes(folder):
    check_folder(folder)
    assert load_model(ModelRef("m", str(folder))).config.model_type == "llama"


def test_pickle_weights_are_refused_by_name(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"safetensors only; found only pickle weights \(pytorch_model.bin\)"):
        load_model(ModelRef("m", str(folder)))


@pytest.mark.parametrize("cut", [4, 50, 5000])
def test_truncated_file_is_named_with_its_sizes(folder, cut):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    with pytest.raises(ValueError, match=rf"model.safetensors.*{cut} bytes"):
        load_model(ModelRef("m", str(folder)))


def test_header_that_is_not_json(folder):
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    file.write_bytes(whole[:8] + b"x" * length + whole[8 + length :])
    with pytest.raises(ValueError, match="not a safetensors header"):
        check_folder(folder)


def test_folder_without_config(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json"):
        load_model(ModelRef("m", str(folder)))


def test_hub_id_without_hub_fails_at_once_with_its_name():
    with pytest.raises(ValueError, match="nobody/nothing"):
        load_model(ModelRef("m", "nobody/nothing"))


def test_remote_code_does_not_run_unasked(folder):
    (folder / "evil.py").write_text("raise SystemExit('ran')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError):
        load_model(ModelRef("m", str(folder)))
