"""Circuits in weights against circuits in hooks, for every architecture, loaded again from plain folders."""

import pytest
import torch
from circuits_support import random_prompts
from conftest import tiny
from engine_support import tokenizer
from transformers import AutoModelForCausalLM

from harness.anatomy import Anatomy
from harness.circuits.ablation import Ablated, corrupt_means
from harness.circuits.bake import bake
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head
from harness.circuits.stack import Stack
from harness.models import Base, ModelRef, fingerprint
from harness.patch import Patch
from harness.patch.export import export

KINDS = ("gpt2", "gpt_neox", "llama", "mistral", "olmo", "olmo2", "qwen2", "qwen3")
CIRCUIT = {Head(0, 1), Head(1, 0), Head(1, 1), Head(1, 2), Head(1, 3), Head(2, 2)}  # layer 1 stays whole


def by_hooks(model, prompts, means):
    ablation = "zero" if means is None else "global"
    return Ablated(Stack(model), prompts, ablation, means).values([CIRCUIT], ["logit_diff"])["logit_diff"][0]


def by_weights(model, prompts):
    with torch.no_grad():
        logits = model(prompts.clean_NT).logits[torch.arange(len(prompts)), prompts.ends_N]
    return measure("logit_diff", logits, prompts)


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_equal_hooks(kind, fill):
    model, prompts = tiny(kind).double(), random_prompts()
    means = corrupt_means(Stack(model), random_prompts(n=6, seed=4)) if fill == "mean" else None
    expected, before = by_hooks(model, prompts, means), by_weights(model, prompts)
    baked = bake(model, Anatomy.of(model), CIRCUIT, None if means is None else means.whole)
    with Patch(baked.tensors, config_edits=baked.config_edits).applied(model):
        got = by_weights(model, prompts)
        generated = model.generate(prompts.clean_NT[:1], max_new_tokens=4, do_sample=False)
        again = model.generate(prompts.clean_NT[:1], max_new_tokens=4, do_sample=False, use_cache=False)
    assert (got - expected).abs().max() < 1e-10
    assert torch.equal(generated, again), "with and without a cache"
    assert torch.equal(by_weights(model, prompts), before), "the base is as it was"
    assert not any(".1." in change.name for change in baked.changes), "a layer that stays whole is not touched"
    assert baked.sizes["heads_kept"] == 6 and baked.sizes["heads_ablated"] == 6


@pytest.mark.parametrize("kind", KINDS)
def test_plain_folders_load_and_compute_the_same(kind, tmp_path):
    model, prompts = tiny(kind), random_prompts()
    means = corrupt_means(Stack(model), random_prompts(n=6, seed=4))
    baked = bake(model, Anatomy.of(model), CIRCUIT, means.whole)
    patch = Patch(baked.tensors, config_edits=baked.config_edits)
    base = Base(ModelRef("tiny", "nowhere"), model, tokenizer(), Anatomy.of(model), fingerprint(model))
    if kind in ("mistral", "qwen2"):
        with pytest.raises(ValueError, match="loads no such tensor"):
            export(base, patch, tmp_path / "out")
        zero = bake(model, Anatomy.of(model), CIRCUIT, None)
        patch = Patch(zero.tensors)
    export(base, patch, tmp_path / "out")
    with patch.applied(model):
        expected = by_weights(model, prompts)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert (by_weights(loaded, prompts) - expected).abs().max() < 1e-5


def test_what_could_be_dropped():
    """Of grouped keys and values only those whose heads are all gone."""
    model = tiny("qwen3")
    anatomy = Anatomy.of(model)
    d = anatomy.head_size
    for kept, queries, groups in (({(0, 0), (0, 1)}, 2, 1), ({(0, 0), (0, 2)}, 2, 0), (set(), 4, 2)):
        kept = kept | {(i, h) for i in (1, 2) for h in range(4)}
        sizes = bake(model, anatomy, [Head(*at) for at in kept], None).sizes
        assert sizes["parameters_that_could_be_dropped"] == 2 * queries * d * 32 + 2 * groups * d * 32
        assert sizes["share_that_is_dropped"] == 0


def test_means_of_another_model():
    model = tiny("gpt2")
    with pytest.raises(ValueError, match=r"means of shape \(2, 4, 8\)"):
        bake(model, Anatomy.of(model), CIRCUIT, torch.zeros(2, 4, 8))


def test_heads_under_an_adapter_are_those_of_the_merged_model():
    """LoRA around every projection: the heads of the wrapped model are those after merging."""
    from peft import LoraConfig, get_peft_model

    from harness.circuits.cost import Cost
    from harness.circuits.downstream import Batch
    from harness.circuits.nodes import Receiver
    from harness.circuits.path_patching import Paths

    for kind, targets in (("llama", ["q_proj", "v_proj", "o_proj", "up_proj"]), ("gpt2", ["c_attn", "c_proj"])):
        wrapped = get_peft_model(
            tiny(kind).double(), LoraConfig(r=4, target_modules=targets, init_lora_weights=False, lora_dropout=0.1)
        ).eval()
        wrapped.double()
        prompts = random_prompts(shared=1)

        def effects(model, prompts=prompts):
            stack = Stack(model)
            with stack.running():
                batch = Batch.of(stack, prompts, Cost())
                paths = Paths(stack, batch, lambda x: measure("logit_diff", x, prompts), Cost())
                return paths.effects(
                    [Head(0, 0), Head(1, 2)], [Receiver("logits", 3), Receiver("q", 2, 1), Receiver("v", 1, 0)]
                )

        before = effects(wrapped)
        plain = effects(tiny(kind).double())
        merged = effects(wrapped.merge_and_unload())
        assert all((before[k] - merged[k]).abs().max() < 1e-8 for k in merged)
        assert any((before[k] - plain[k]).abs().max() > 1e-3 for k in plain)
