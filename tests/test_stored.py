"""Tensors read from the disk against the ones transformers loads."""

import json
import struct

import pytest
import torch
from conftest import ARCHITECTURES, tiny
from safetensors.torch import load_file, save_file

from harness.anatomy import Anatomy
from harness.stored import open_stored


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shards", ["5GB", "20KB"])
def test_every_part_is_the_loaded_models(architecture, shards, tmp_path):
    model = tiny(architecture)
    model.save_pretrained(tmp_path, max_shard_size=shards)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (shards == "20KB")
    stored = open_stored("m", str(tmp_path))
    assert stored.anatomy == Anatomy.of(model)
    for site in stored.anatomy.sites:
        tensor, loaded = stored.tensor(site.name), model.get_parameter(site.name)
        assert tensor.shape == tuple(loaded.shape)
        assert torch.equal(tensor.rows(), loaded)
        if tensor.shape[0] > 2:
            assert torch.equal(tensor.rows(1, 3), loaded[1:3])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_dtype_is_read_bit_by_bit(dtype, tmp_path):
    model = tiny("llama").to(dtype)
    model.save_pretrained(tmp_path)
    stored = open_stored("m", str(tmp_path))
    for name, parameter in model.named_parameters():
        assert stored.tensor(name).rows().dtype == dtype
        assert torch.equal(stored.tensor(name).rows(), parameter)


def test_checkpoint_of_a_bare_decoder(tmp_path):
    """GPT-2's own files name their tensors without the prefix of the model with a head."""
    model = tiny("gpt2")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({k.removeprefix("transformer."): v for k, v in load_file(file).items()}, file)
    stored = open_stored("m", str(tmp_path))
    name = "transformer.h.1.attn.c_attn.weight"
    assert torch.equal(stored.tensor(name).rows(), model.get_parameter(name))


def test_integers_are_refused_by_name(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)
    save_file(tensors, file)
    with pytest.raises(ValueError, match=r"model.safetensors: a tensor of dtype I8; read are F64"):
        open_stored("m", str(tmp_path)).tensor("model.norm.weight").rows()


def test_missing_tensor_and_missing_shard_are_named(tmp_path):
    tiny("llama").save_pretrained(tmp_path, max_shard_size="20KB")
    with pytest.raises(ValueError, match=r"m: no tensor model\.nothing"):
        open_stored("m", str(tmp_path)).tensor("model.nothing")
    next(iter(sorted(tmp_path.glob("*.safetensors")))).unlink()
    with pytest.raises(ValueError, match=r"1 of \d+ weight files are missing: model-00001"):
        open_stored("m", str(tmp_path))


def test_file_that_shrinks_under_the_reader(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    stored = open_stored("m", str(tmp_path))
    tensor = max(stored.tensors.values(), key=lambda t: t.offset)
    with tensor.file.open("r+b") as file:
        file.truncate(tensor.offset + 4)
    with pytest.raises(ValueError, match="ends early"):
        tensor.rows()


@pytest.mark.parametrize("content", ["[]", "{", '{"weight_map": 3}', '{"weight_map": {"a": "../../etc/passwd"}}'])
def test_index_of_any_content_ends_in_a_sentence(content, tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"not an index|weight files are missing"):
        open_stored("m", str(tmp_path))


def test_hub_id_without_hub_is_one_sentence():
    with pytest.raises(ValueError, match="cannot find 'nobody/nothing'"):
        open_stored("m", "nobody/nothing")


def test_unknown_architecture(tmp_path):
    tiny("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "nothing"}))
    with pytest.raises(ValueError, match=r"the config in .* cannot be used"):
        open_stored("m", str(tmp_path))


def test_reading_leaves_other_bytes_alone(tmp_path):
    """Rows are where the header says: checked by hand on one file."""
    tiny("llama").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entry = json.loads(raw[8 : 8 + length])["model.norm.weight"]
    start, stop = (8 + length + n for n in entry["data_offsets"])
    expected = struct.unpack(f"<{(stop - start) // 4}f", raw[start:stop])
    found = open_stored("m", str(tmp_path)).tensor("model.norm.weight").rows(2, 5).tolist()
    assert found == list(expected[2:5])
