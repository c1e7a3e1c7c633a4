"""Path patching and ablation against TransformerLens's bridge over the same weights."""

import copy

import pytest
import torch
from circuits_support import random_prompts
from conftest import tiny

from harness.circuits.ablation import Ablated
from harness.circuits.cost import Cost
from harness.circuits.downstream import Batch
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head, Receiver
from harness.circuits.path_patching import Paths
from harness.circuits.stack import Stack

bridges = pytest.importorskip("transformer_lens.model_bridge.sources._bridge_builder")
# The bridge rotates queries and keys in fp32, whatever the weights: rounding of 1e-7 there.
TOLERANCE = {"gpt2": 1e-10, "llama": 1e-6, "qwen2": 1e-6, "qwen3": 1e-6, "gpt_neox": 1e-6}
NAMES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
}


def bridge_of(model, kind):
    """The bridge changes the module it wraps: it gets a copy."""
    copied = copy.deepcopy(model)
    return bridges.build_bridge_from_module(copied, NAMES[kind], hf_config=copied.config)


def z_of(bridge, ids):
    _, cache = bridge.run_with_cache(ids)
    return {i: cache[f"blocks.{i}.attn.hook_z"] for i in range(3)}


def heads_first(z, heads):
    """[B, T, H, D], however the bridge gives it."""
    return z if z.ndim == 4 else z.unflatten(-1, (heads, -1))


def path_with_hooks(bridge, prompts, sender, receiver, heads):
    """Algorithm 1 with the library's hooks."""
    clean, corrupt = z_of(bridge, prompts.clean_NT), z_of(bridge, prompts.corrupt_NT)

    def freeze(layer):
        def hook(value, hook):
            new = heads_first(clean[layer], heads).clone()
            if layer == sender.layer:
                new[:, :, sender.head] = heads_first(corrupt[layer], heads)[:, :, sender.head]
            return new.reshape(value.shape)

        return hook

    seen = {}
    name = f"blocks.{receiver.layer}.attn.hook_{receiver.kind}"

    def record(value, hook):
        seen["value"] = value.clone()

    hooks = [(f"blocks.{i}.attn.hook_z", freeze(i)) for i in range(3)]
    if receiver.kind == "logits":
        return bridge.run_with_hooks(prompts.clean_NT, fwd_hooks=hooks)
    bridge.run_with_hooks(prompts.clean_NT, fwd_hooks=[*hooks, (name, record)])

    def put(value, hook):
        count = seen["value"].shape[-2] if value.ndim == 4 else None
        if count is not None:
            value = value.clone()
            value[:, :, receiver.head] = seen["value"][:, :, receiver.head]
            return value
        width = value.shape[-1] // (heads if receiver.kind == "q" else value.shape[-1] // bridge.cfg.d_head)
        at = slice(receiver.head * width, (receiver.head + 1) * width)
        value = value.clone()
        value[..., at] = seen["value"][..., at]
        return value

    return bridge.run_with_hooks(prompts.clean_NT, fwd_hooks=[(name, put)])


@pytest.mark.parametrize("kind", sorted(NAMES))
def test_paths_equal_the_bridge(kind):
    model = tiny(kind).double()
    prompts = random_prompts(shared=1)
    stack = Stack(model)
    senders = [Head(0, 1), Head(0, 3), Head(1, 2)]
    receivers = [Receiver("logits", 3), Receiver("q", 2, 3), Receiver("k", 1, 0), Receiver("v", 2, 1)]
    with stack.running():
        batch = Batch.of(stack, prompts, Cost())
        got = Paths(stack, batch, lambda x: measure("logit_diff", x, prompts), Cost()).effects(senders, receivers)
    bridge = bridge_of(model, kind)
    rows = torch.arange(len(prompts))
    with torch.no_grad():
        for (receiver, sender), values in got.items():
            logits = path_with_hooks(bridge, prompts, sender, receiver, stack.n_heads)[rows, prompts.ends_N]
            expected = measure("logit_diff", logits, prompts)
            assert (values - expected).abs().max() < TOLERANCE[kind], (sender, receiver)
    assert len(got) == 3 + 3 + 2 + 3


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_ablation_equals_the_bridge(kind):
    model, prompts = tiny(kind).double(), random_prompts()
    stack, bridge = Stack(model), bridge_of(model, kind)
    circuit = {Head(0, 0), Head(1, 2), Head(2, 3)}

    def ablate(layer):
        def hook(value, hook):
            new = heads_first(value, 4).clone()
            for head in range(4):
                if Head(layer, head) not in circuit:
                    new[:, :, head] = 0
            return new.reshape(value.shape)

        return hook

    with torch.no_grad():
        logits = bridge.run_with_hooks(
            prompts.clean_NT, fwd_hooks=[(f"blocks.{i}.attn.hook_z", ablate(i)) for i in range(3)]
        )
    expected = measure("logit_diff", logits[torch.arange(len(prompts)), prompts.ends_N], prompts)
    got = Ablated(stack, prompts, "zero", None).values([circuit], ["logit_diff"])["logit_diff"][0]
    assert (got - expected).abs().max() < TOLERANCE[kind]
