"""Circuits at work, against hooks on the whole model and against weights with columns of zeros."""

import pytest
import torch
from circuits_support import Plain, random_prompts
from conftest import tiny

from harness.circuits.ablation import ABLATIONS, Ablated, corrupt_means
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head
from harness.circuits.stack import Stack

KINDS = ("gpt2", "gpt_neox", "llama", "olmo2", "qwen2", "qwen3")
CIRCUIT = {Head(0, 1), Head(1, 0), Head(1, 3), Head(2, 2)}


def everything(stack):
    return {Head(layer, head) for layer in range(stack.n_layers) for head in range(stack.n_heads)}


def by_hooks(model, prompts, circuit, ablation, source):
    """The circuit prompt by prompt: hooks put means of the rows that the definition names."""
    plain = Plain(model)
    _, z_clean, _ = plain.run(prompts.clean_NT)
    corrupt = [plain.run(source.corrupt_NT[i : i + 1, : end + 1])[1] for i, end in enumerate(source.ends_N.tolist())]
    own = [plain.run(prompts.corrupt_NT[i : i + 1])[1] for i in range(len(prompts))]
    out = []
    for n in range(len(prompts)):
        length = int(prompts.ends_N[n]) + 1

        def instead(layer, n=n, length=length):
            if ablation == "zero":
                return torch.zeros_like(z_clean[layer][n])
            if ablation == "resample":
                return own[n][layer][0]
            rows = torch.cat([c[layer][0] for c in corrupt])
            value = rows.mean(dim=0).expand_as(z_clean[layer][n]).clone()
            if ablation == "template":
                same = [
                    c[layer][0]
                    for i, c in enumerate(corrupt)
                    if source.templates[i] == prompts.templates[n] and int(source.ends_N[i]) + 1 == length
                ]
                if same:
                    value[:length] = torch.stack(same).mean(dim=0)
            return value

        logits = run_with(plain, prompts.clean_NT[n : n + 1], circuit, instead)
        out.append(logits[0, length - 1])
    return torch.stack(out)


def run_with(plain, ids, circuit, instead):
    """One run whose heads outside the circuit put out ``instead(layer)``."""
    d, handles = plain.anatomy.head_size, []
    for layer, module in enumerate(plain.outputs):

        def before(_module, args, layer=layer):
            value = args[0].clone()
            for head in range(plain.anatomy.n_heads):
                if Head(layer, head) not in circuit:
                    at = slice(head * d, (head + 1) * d)
                    value[0, :, at] = instead(layer)[:, at]
            return (value, *args[1:])

        handles.append(module.register_forward_pre_hook(before))
    try:
        with torch.no_grad():
            return plain.model(ids, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_hooks(kind, ablation):
    model = tiny(kind).double()
    prompts, source = random_prompts(n=3), random_prompts(n=6, seed=7)
    stack = Stack(model)
    ablated = Ablated(stack, prompts, ablation, corrupt_means(stack, source))
    got = ablated.values([CIRCUIT, everything(stack)], ["logit_diff", "kl"])
    logits = by_hooks(model, prompts, CIRCUIT, ablation, source)
    assert (got["logit_diff"][0] - measure("logit_diff", logits, prompts)).abs().max() < 1e-10
    assert (got["kl"][0] - measure("kl", logits, prompts, ablated.reference_NV)).abs().max() < 1e-10
    assert got["kl"][1].abs().max() < 1e-12
    alone = Ablated(stack, prompts, ablation, corrupt_means(stack, source))
    whole = alone.values([everything(stack)], ["logit_diff"])["logit_diff"][0]
    assert torch.equal(whole, ablated.full("logit_diff")), "all heads are the model, bit by bit"


def test_zero_is_columns_of_zeros():
    model, prompts = tiny("qwen3").double(), random_prompts()
    stack = Stack(model)
    got = Ablated(stack, prompts, "zero", None).values([CIRCUIT], ["logit_diff"])["logit_diff"][0]
    with torch.no_grad():
        for layer in range(3):
            for head in range(4):
                if Head(layer, head) not in CIRCUIT:
                    model.model.layers[layer].self_attn.o_proj.weight[:, head * 16 : (head + 1) * 16] = 0
        logits = model(prompts.clean_NT).logits[torch.arange(4), prompts.ends_N]
    assert (got - measure("logit_diff", logits, prompts)).abs().max() < 1e-12


def test_batches_and_stacks_do_not_matter():
    stack = Stack(tiny("llama").double())
    prompts, source = random_prompts(n=6), random_prompts(n=8, seed=3)
    circuits = [CIRCUIT, {Head(1, 1)}, set(), everything(stack)]
    means = corrupt_means(stack, source)
    small = corrupt_means(stack, source, batch_tokens=10)
    assert torch.allclose(means.whole, small.whole, atol=1e-12)
    one = Ablated(stack, prompts, "template", means).values(circuits, ["logit_diff"])["logit_diff"]
    other = Ablated(stack, prompts, "template", small, batch_tokens=20).values(circuits, ["logit_diff"])["logit_diff"]
    assert (one - other).abs().max() < 1e-12


def test_a_head_at_a_place_stays_there_alone():
    """All heads at all positions, one position a time, is the model; at none but the end it is something else."""
    stack = Stack(tiny("gpt2").double())
    prompts = random_prompts(lengths=False)
    ablated = Ablated(stack, prompts, "zero", None)
    every = {Head(h.layer, h.head, "END") for h in everything(stack)}
    values = ablated.values([every, everything(stack)], ["logit_diff"])["logit_diff"]
    assert (values[0] - values[1]).abs().min() > 1e-6
    with pytest.raises(ValueError, match=r"no position 'S2'.*END, MIDDLE"):
        ablated.values([{Head(0, 0, "S2")}], ["logit_diff"])


def test_prompts_without_means_are_counted():
    stack = Stack(tiny("gpt2").double())
    prompts, source = random_prompts(n=4), random_prompts(n=1, seed=5)
    keys = {(t, e + 1) for t, e in zip(source.templates, source.ends_N.tolist(), strict=True)}
    expected = sum((t, e + 1) not in keys for t, e in zip(prompts.templates, prompts.ends_N.tolist(), strict=True))
    assert Ablated(stack, prompts, "template", corrupt_means(stack, source)).without_means == expected > 0


def test_unknown_ablation():
    stack = Stack(tiny("gpt2"))
    with pytest.raises(ValueError, match=r"unknown ablation 'mean'; known: template, global"):
        Ablated(stack, random_prompts(), "mean", None)
    with pytest.raises(ValueError, match="needs means"):
        Ablated(stack, random_prompts(), "global", None)
