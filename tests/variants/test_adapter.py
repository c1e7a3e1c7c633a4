"""Adapters of PEFT as patches; PEFT's own forward pass is the oracle."""

import copy

import pytest
import torch
from conftest import logits, tiny
from peft import IA3Config, LoraConfig, get_peft_model

from harness.anatomy import Anatomy
from harness.config.specs import VariantSpec
from harness.config.variants import AdapterVariant
from harness.models import Base, ModelRef, fingerprint
from harness.svf import SvfConfig
from harness.variants import Context, build, plan_text

CONFIGS = {
    "lora": lambda: LoraConfig(r=4, target_modules=["q_proj", "o_proj"], init_lora_weights=False),
    "ia3": lambda: IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "svf": lambda: SvfConfig(target_modules=["gate_proj", "o_proj"], init_std=0.2),
}


def base_of(model):
    return Base(ModelRef("tiny", "nowhere"), model, None, Anatomy.of(model), fingerprint(model))  # type: ignore[arg-type]


def made(base, path):
    return build(base, VariantSpec("a", "adapter", AdapterVariant(path=str(path))), Context(lambda name: None))


def saved(model, config, folder):
    torch.manual_seed(3)
    adapted = get_peft_model(copy.deepcopy(model), config)
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad and "ia3" in name:
            parameter.data.uniform_(0.5, 1.5)
    adapted.eval().save_pretrained(folder)
    return adapted


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_computes_what_peft_computes(architecture, kind, tmp_path):
    base = base_of(tiny(architecture).double())
    before = logits(base.model)
    adapted = saved(base.model, CONFIGS[kind](), tmp_path)
    patch = made(base, tmp_path)
    assert logits(base.model).equal(before)
    with patch.applied(base.model):
        torch.testing.assert_close(logits(base.model), logits(adapted), atol=1e-6, rtol=1e-6)
    assert not torch.allclose(logits(adapted), before, atol=1e-4)
    wanted = {"lora": 6, "ia3": 6, "svf": 6}[kind]
    assert len([n for n in patch.tensors if n.endswith("weight")]) == wanted
    assert patch.provenance.touched == sum(t.numel() for t in patch.tensors.values())
    assert "adapter" in plan_text(base, "a", patch)


def test_an_adapter_that_changes_nothing_is_said(tmp_path):
    base = base_of(tiny("llama"))
    saved(base.model, LoraConfig(target_modules=["q_proj"]), tmp_path)
    with pytest.raises(ValueError, match="changes no tensor of tiny: an adapter that was never trained"):
        made(base, tmp_path)


def test_pickles_are_not_read(tmp_path):
    base = base_of(tiny("llama"))
    saved(base.model, CONFIGS["lora"](), tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ValueError, match=r"holds no adapter_model.safetensors; weights are read as safetensors only"):
        made(base, tmp_path)


def test_adapters_of_another_model_are_said(tmp_path):
    base = base_of(tiny("llama"))
    saved(tiny("gpt2"), LoraConfig(target_modules=["c_attn"], init_lora_weights=False), tmp_path)
    with pytest.raises(ValueError, match="variant a on tiny: "):
        made(base, tmp_path)


@pytest.mark.parametrize(
    ("path", "text"),
    [(None, "set variant.path"), ("/no/where", "is no folder"), ("nobody/nothing", "could not be fetched")],
)
def test_paths_that_lead_nowhere(path, text):
    with pytest.raises(ValueError, match=text):
        build(
            base_of(tiny("llama")), VariantSpec("a", "adapter", AdapterVariant(path=path)), Context(lambda name: None)
        )
