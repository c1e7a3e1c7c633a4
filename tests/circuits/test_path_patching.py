"""Path patching against the paper's four forwards, and against what has to hold of any path."""

import pytest
import torch
from circuits_support import Plain, random_prompts
from conftest import tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.circuits.cost import Cost
from harness.circuits.downstream import Batch
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head, Receiver
from harness.circuits.path_patching import Paths
from harness.circuits.stack import Stack

KINDS = ("gpt2", "gpt_neox", "llama", "mistral", "olmo", "olmo2", "qwen2", "qwen3")
LOGITS = Receiver("logits", 3)


def all_heads(stack, place=""):
    return [Head(layer, head, place) for layer in range(stack.n_layers) for head in range(stack.n_heads)]


def all_receivers(stack, place=""):
    counts = {"q": stack.n_heads, "k": stack.n_kv, "v": stack.n_kv}
    inputs = [
        Receiver(kind, layer, head, place)
        for layer in range(stack.n_layers)
        for kind, count in counts.items()
        for head in range(count)
    ]
    return [*inputs, Receiver("logits", stack.n_layers)]


def effects(model, prompts, senders=None, receivers=None, metric=None, cost=None):
    stack = Stack(model)
    senders = all_heads(stack) if senders is None else senders
    receivers = all_receivers(stack) if receivers is None else receivers
    cost = cost or Cost()
    with stack.running():
        batch = Batch.of(stack, prompts, cost)
        return Paths(stack, batch, metric or (lambda x: measure("logit_diff", x, prompts)), cost).effects(
            senders, receivers
        )


@pytest.mark.parametrize("kind", KINDS)
def test_equals_four_forwards(kind):
    """Every sender by every receiver: q, k and v of every head, and the logits, over shared beginnings."""
    model = tiny(kind).double()
    prompts = random_prompts(shared=3)
    plain = Plain(model)
    got = effects(model, prompts)
    assert len(got) == 12 + (4 + 2 * Stack(model).n_kv) * (4 + 8)
    moved = 0
    for (receiver, sender), values in got.items():
        expected = measure("logit_diff", plain.path(prompts, sender, receiver), prompts)
        assert (values - expected).abs().max() < 1e-10, (sender, receiver)
        moved += int((values - measure("logit_diff", plain.run(prompts.clean_NT)[0][
            torch.arange(len(prompts)), prompts.ends_N], prompts)).abs().max() > 1e-6)  # fmt: skip
    assert moved > 0.9 * len(got)


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
@pytest.mark.parametrize("places", [("MIDDLE", ""), ("", "END"), ("MIDDLE", "END"), ("END", "MIDDLE")])
def test_named_positions_equal_four_forwards(kind, places):
    model, prompts = tiny(kind).double(), random_prompts(shared=1)
    plain, stack = Plain(model), Stack(model)
    senders, receivers = all_heads(stack, places[0])[::3], all_receivers(stack, places[1])[::4]
    receivers.append(LOGITS)
    got = effects(model, prompts, senders, receivers)
    assert got
    for (receiver, sender), values in got.items():
        expected = measure("logit_diff", plain.path(prompts, sender, receiver), prompts)
        assert (values - expected).abs().max() < 1e-10, (sender, receiver)


def test_no_difference_is_no_effect():
    """A sender whose corrupt output is its clean one moves nothing, bit by bit."""
    model, prompts = tiny("llama"), random_prompts(shared=2)
    stack = Stack(model)
    with stack.running():
        batch = Batch.of(stack, prompts, Cost())
        batch.corrupt_z = batch.clean.z
        values = Paths(stack, batch, lambda x: x.flatten(2).norm(dim=-1), Cost()).effects(
            all_heads(stack), [LOGITS, Receiver("q", 2, 1)]
        )
        clean = batch.clean.logits_BV.norm(dim=-1)
    for (receiver, _), value in values.items():
        # To the logits nothing is computed but norms and MLPs of the same numbers; attention over stacked rows rounds.
        assert torch.allclose(value, clean, rtol=0, atol=0 if receiver is LOGITS else 1e-5)


def test_senders_lie_before_receivers():
    got = effects(tiny("gpt2"), random_prompts(), receivers=[Receiver("k", 1, 0), Receiver("v", 0, 1)])
    assert {sender.layer for _, sender in got} == {0}
    assert {receiver for receiver, _ in got} == {Receiver("k", 1, 0)}


def test_stacked_senders_equal_single_ones():
    model, prompts = tiny("qwen2").double(), random_prompts()
    receivers = [LOGITS, Receiver("q", 2, 3), Receiver("v", 1, 1)]
    together = effects(model, prompts, receivers=receivers)
    for sender in all_heads(Stack(model)):
        for key, values in effects(model, prompts, [sender], receivers).items():
            assert (values - together[key]).abs().max() < 1e-12


def test_logits_alone_equal_logits_among_others():
    """Alone they are computed at one position, among others at all."""
    model, prompts = tiny("olmo").double(), random_prompts(shared=2)
    alone = effects(model, prompts, receivers=[LOGITS])
    among = effects(model, prompts, receivers=[LOGITS, Receiver("q", 2, 0)])
    for key, values in alone.items():
        assert (values - among[key]).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_counted_operations_are_those_that_run(kind):
    """torch's own counter sees the same; it counts the products that were called (of the CPU's fused kernel, none)."""
    model, prompts = tiny(kind).double(), random_prompts(shared=4)
    cost = Cost()
    stack = Stack(model)
    with stack.running(), sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as counter:
            batch = Batch.of(stack, prompts, cost)
        assert cost.total_flops == counter.get_total_flops()
        before = cost.total_flops
        with FlopCounterMode(display=False) as counter:
            Paths(stack, batch, lambda x: measure("logit_diff", x, prompts), cost).effects(
                all_heads(stack), [LOGITS, Receiver("q", 1, 1), Receiver("k", 2, 0), Receiver("v", 1, 0)]
            )
    assert cost.total_flops - before == counter.get_total_flops()


def test_bloom_is_refused():
    with pytest.raises(ValueError, match=r"bloom.*residual.*possible: gpt2"):
        Stack(tiny("bloom"))


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        Stack(tiny("gpt2").train())


def test_the_model_is_left_as_it_was():
    model, prompts = tiny("mistral"), random_prompts()
    before = model.config._attn_implementation
    ids = prompts.clean_NT
    expected = model(ids).logits
    effects(model, prompts)
    assert model.config._attn_implementation == before
    assert torch.equal(model(ids).logits, expected)
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
