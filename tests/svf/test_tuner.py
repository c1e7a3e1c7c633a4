"""SVF as a method of PEFT: saved, loaded, switched, merged, converted, mixed by row."""

import copy
import json

import pytest
import torch
from conftest import ARCHITECTURES, tiny
from peft import PeftModel, convert_to_lora, get_peft_model
from safetensors.torch import load_file

from harness.svf import SvfConfig, SvfLayer

IDS = torch.arange(2, 14)[None]
MLP = {
    "gpt2": ["mlp.c_fc", "mlp.c_proj"],
    "gpt_neox": ["dense_h_to_4h", "dense_4h_to_h"],
    "bloom": ["dense_h_to_4h", "dense_4h_to_h"],
}


def targets(architecture):
    return MLP.get(architecture, ["gate_proj", "up_proj", "down_proj"])


def run(model, ids=IDS):
    model.eval()
    with torch.no_grad():
        return model(ids).logits


def randomise(model, name="default", seed=0):
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, SvfLayer) and name in module.svf_z:
            values = torch.rand(module.svf_z[name].shape, generator=generator, dtype=torch.float64) + 0.5
            module.svf_z[name].data = values.to(module.svf_z[name].dtype)


def made(architecture="llama", dtype=torch.float64, **config):
    base = tiny(architecture).to(dtype)
    return base, get_peft_model(copy.deepcopy(base), SvfConfig(target_modules=targets(architecture), **config))


def reference(base, model):
    """The same model with every W' written out by U, S and V."""
    other = copy.deepcopy(base)
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, SvfLayer):
            layer = other.get_submodule(name)
            stored = layer.weight.data
            w = stored.T if type(layer).__name__ == "Conv1D" else stored
            u, s, v = torch.linalg.svd(w, full_matrices=False)
            new = u @ torch.diag(s * module.z_of("default").detach()) @ v
            layer.weight.data = new.T.contiguous() if type(layer).__name__ == "Conv1D" else new
    return other


@pytest.mark.parametrize("architecture", ARCHITECTURES)
class TestEveryArchitecture:
    def test_is_the_base_at_one(self, architecture):
        base, model = made(architecture, torch.float32)
        assert run(model).equal(run(base))

    def test_equals_the_singular_values_written_out(self, architecture):
        base, model = made(architecture)
        randomise(model)
        expected = run(reference(base, model))
        torch.testing.assert_close(run(model), expected, atol=1e-11, rtol=1e-11)
        assert not torch.allclose(expected, run(base), atol=1e-4)

    def test_merges_and_comes_apart_bit_by_bit(self, architecture):
        base, model = made(architecture)
        randomise(model)
        apart = run(model)
        model.merge_adapter(safe_merge=True)
        torch.testing.assert_close(run(model), apart, atol=1e-11, rtol=1e-11)
        model.unmerge_adapter()
        assert run(model).equal(apart)
        with model.disable_adapter():
            assert run(model).equal(run(base))
        merged = model.merge_and_unload()
        torch.testing.assert_close(run(merged), apart, atol=1e-11, rtol=1e-11)
        assert not any(isinstance(m, SvfLayer) for m in merged.modules())

    def test_only_z_is_trained(self, architecture):
        _, model = made(architecture)
        trained = [n for n, p in model.named_parameters() if p.requires_grad]
        assert trained
        assert all("svf_z" in n for n in trained)
        model(IDS, labels=IDS).loss.backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for n, p in model.named_parameters() if "svf_z" in n)


def test_gradient_equals_that_of_the_written_out_form():
    base, model = made()
    randomise(model)
    model(IDS).logits.square().sum().backward()
    name, layer = next((n, m) for n, m in model.base_model.model.named_modules() if isinstance(m, SvfLayer))
    ours = layer.svf_z["default"]
    z = ours.detach().clone().requires_grad_()
    weights = {f"{name}.weight": base.get_submodule(name).weight.detach()}
    u, s, v = torch.linalg.svd(weights[f"{name}.weight"], full_matrices=False)
    rest = {n: p.detach() for n, p in reference(base, model).named_parameters() if n != f"{name}.weight"}
    written_out = {**rest, f"{name}.weight": u @ torch.diag(s * z) @ v}
    torch.func.functional_call(base, written_out, (IDS,)).logits.square().sum().backward()
    torch.testing.assert_close(ours.grad, z.grad, atol=1e-9, rtol=1e-7)


def test_saved_and_loaded_bit_by_bit(tmp_path):
    base, model = made(dtype=torch.float32)
    randomise(model)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all(name.endswith("svf_z") for name in saved)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "SVF"
    again = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert run(again).equal(run(model))
    # Nothing of the factors lies in the file: one number a singular value.
    assert sum(t.numel() for t in saved.values()) == 3 * 3 * 32


def test_several_adapters_and_each_row_its_own():
    base, model = made()
    randomise(model, seed=1)
    model.add_adapter("code", SvfConfig(target_modules=targets("llama")))
    randomise(model, "code", seed=2)
    batch = IDS + torch.arange(4)[:, None]
    alone = {}
    for name in ("default", "code"):
        model.set_adapter(name)
        alone[name] = run(model, batch)
    assert not torch.allclose(alone["default"], alone["code"], atol=1e-4)
    mixture = {"default": 0.25, "code": 0.75}
    with model.base_model.rows(["code", "__base__", "default", mixture]):
        mixed = run(model, batch)
    torch.testing.assert_close(mixed[0], alone["code"][0], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(mixed[1], run(base, batch)[1], atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(mixed[2], alone["default"][2], atol=1e-12, rtol=1e-12)
    for module in model.modules():
        if isinstance(module, SvfLayer):
            z = sum(alpha * module.svf_z[name].detach() for name, alpha in mixture.items())
            module.svf_z["default"].data = z
    model.set_adapter("default")
    torch.testing.assert_close(mixed[3], run(model, batch)[3], atol=1e-12, rtol=1e-12)
    with pytest.raises(ValueError, match="no adapter math; there are code, default"), model.base_model.rows(["math"]):
        pass
    with (
        model.base_model.rows(["code"] * 3),
        pytest.raises(ValueError, match="z for 3 rows, and a batch of 4"),
    ):
        run(model, batch)
    model.delete_adapter("code")
    assert run(model, batch) is not None


def test_becomes_a_lora_of_full_rank(tmp_path):
    base, model = made(dtype=torch.float32)
    randomise(model)
    config, tensors = convert_to_lora(model, rank=32)
    other = get_peft_model(copy.deepcopy(base), config)
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(other, tensors)
    torch.testing.assert_close(run(other), run(model), atol=1e-4, rtol=1e-4)


def test_conserving_form_keeps_the_sum_of_the_singular_values():
    base, model = made(form="conserving", init=0.1, init_std=0.5)
    layers = [m for m in model.modules() if isinstance(m, SvfLayer)]
    for layer in layers:
        z = layer.z_of("default")
        assert float((layer.svf_s * z).sum()) == pytest.approx(float(layer.svf_s.sum()))
        assert float((z - 1).abs().max()) > 0.05
    torch.testing.assert_close(run(model), run(reference(base, model)), atol=1e-11, rtol=1e-11)
    for layer in layers:  # a common shift of all of p cancels nearly, one of the multiplier wholly
        layer.svf_z["default"].data.fill_(0.1)
        torch.testing.assert_close(layer.z_of("default"), torch.ones_like(layer.svf_s))


def test_z_stays_in_fp32_over_a_base_in_bf16():
    _, model = made(dtype=torch.bfloat16)
    layers = [m for m in model.modules() if isinstance(m, SvfLayer)]
    assert {m.svf_z["default"].dtype for m in layers} == {torch.float32}
    assert {m.svf_q.dtype for m in layers} == {torch.bfloat16}
    assert run(model).isfinite().all()


def test_layers_can_be_chosen():
    _, model = made(layers_to_transform=[1])
    names = [n for n, m in model.named_modules() if isinstance(m, SvfLayer)]
    assert len(names) == 3
    assert all(".layers.1." in n for n in names)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"form": "round"}, "form 'round': expected plain or conserving"),
        ({"method": "qr"}, "method 'qr'"),
        ({"layers_pattern": "layers"}, "goes with layers_to_transform"),
        ({"target_modules": ".*mlp", "layers_to_transform": [0]}, "a regular expression says it itself"),
    ],
)
def test_settings_that_do_not_go_together(changes, text):
    with pytest.raises(ValueError, match=text):
        SvfConfig(**{"target_modules": ["gate_proj"], **changes})


def test_embeddings_are_refused():
    with pytest.raises(ValueError, match="embed_tokens is a Embedding; SVF works on Linear and Conv1D"):
        get_peft_model(tiny("llama"), SvfConfig(target_modules=["embed_tokens"]))
