"""The search: thresholds by hand, what is visited, what is kept, and the model whose circuit is known."""

import json

import pytest
import torch
from circuits_support import Plain, random_prompts
from conftest import tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.circuits.activation import activation_effects
from harness.circuits.attribution import attribution_effects
from harness.circuits.edges import EdgeFile, Effect
from harness.circuits.effects import Effects, NoEffectError
from harness.circuits.metrics import measure
from harness.circuits.nodes import Head, Receiver, heads_text, parse_heads
from harness.circuits.search import Search, Threshold
from harness.circuits.stack import Stack
from harness.circuits.tasks import draw_sets
from harness.lab.planted import TRUTH, planted


@pytest.fixture(scope="module")
def known():
    model, tokenizer = planted()
    sets = draw_sets("induction", tokenizer, "lab", find=60, verify=40, means=40, max_length=60)
    return Stack(model), sets


def of(values, layer=2):
    """Effects of senders 0.0, 0.1, ... and a receiver behind them."""
    return Receiver("q", layer, 0), {Head(0, i): Effect(v, 0.001) for i, v in enumerate(values)}


def test_the_rule_of_the_released_code():
    """|m| - |mean| > t std with t = k + 2 / sqrt(senders), counted by hand."""
    values = [0.0, 0.01, -0.02, 0.3, -0.5, 0.0, 0.01, 0.0]
    receiver, effects = of(values)
    mean = sum(values) / 8
    std = (sum((v - mean) ** 2 for v in values) / 7) ** 0.5
    for k in (0.2, 1.0, 1.5):
        expected = [Head(0, i) for i, v in enumerate(values) if abs(v) - abs(mean) > (k + 2 / 8**0.5) * std]
        assert Threshold("sqrt", k=k).important(receiver, effects, 0) == expected
        linear = [Head(0, i) for i, v in enumerate(values) if abs(v) - abs(mean) > (k + 0.2) * std]
        assert Threshold("linear", k=k).important(receiver, effects, 0) == linear
    # The logits have a k of their own.
    assert Threshold("sqrt", k=9.0, k_logits=0.2).important(Receiver("logits", 2), effects, 0)


def test_heads_left_out_lower_the_bar_where_they_count_as_zeros():
    receiver, effects = of([0.1, 0.2, -0.15, 0.3, *[0.05] * 8])
    plain, zeros = Threshold("sqrt", k=1.0), Threshold("sqrt", k=1.0, zeros=True)
    assert plain.important(receiver, effects, 20) == [Head(0, 3)]
    assert zeros.important(receiver, effects, 20) == [Head(0, 1), Head(0, 2), Head(0, 3)]


@pytest.mark.parametrize("rule", ["sqrt", "linear"])
def test_a_rule_that_nothing_can_pass_is_absolute(rule):
    """One effect of -1 among n - 1 zeros lies (n - 1) / sqrt(n) deviations from the mean: as far as any can."""
    for n in range(2, 30):
        receiver, effects = of([-1.0, *[0.0] * (n - 1)])
        assert Threshold(rule, k=2.0).important(receiver, effects, 0) == [Head(0, 0)], n
    receiver, effects = of([-1.0, -0.5, 0.0])
    assert Threshold(rule, k=2.0).important(receiver, effects, 0) == [Head(0, 0), Head(0, 1)]


def test_nothing_is_important_below_the_least_effect():
    receiver, effects = of([0.009, 0.0, 0.0, -0.01])
    for rule in ("sqrt", "linear", "absolute", "top"):
        assert Threshold(rule, k=0.1, least=0.01).important(receiver, effects, 0) == []


def test_absolute_top_and_standard_errors():
    receiver, effects = of([0.05, -0.2, 0.03, 0.1])
    assert Threshold("absolute", least=0.04).important(receiver, effects, 0) == [Head(0, 0), Head(0, 1), Head(0, 3)]
    assert Threshold("top", count=2).important(receiver, effects, 0) == [Head(0, 1), Head(0, 3)]
    noisy = {h: Effect(e.mean, 0.06) for h, e in effects.items()}
    assert Threshold("absolute", z=2.0).important(receiver, noisy, 0) == [Head(0, 1)]


def test_thresholds_that_cannot_be():
    with pytest.raises(ValueError, match="unknown threshold rule 'std'; known: sqrt"):
        Threshold("std")
    with pytest.raises(ValueError, match="negative"):
        Threshold(least=-1)


def test_the_planted_circuit_is_found(known):
    """Its two steps: heads that say the answer and its opposite, then those that tell them where to look."""
    stack, sets = known
    effects = Effects(stack, sets.find)
    found = Search(effects, Threshold("absolute", least=0.02)).run()
    assert {(h.layer, h.head) for h in found.heads} == set(TRUTH)
    assert len(found.waves) == 2
    by_receiver = {}
    for (receiver, sender), effect in found.edges.items():
        by_receiver.setdefault(str(receiver), {})[str(sender)] = effect.mean
    assert set(by_receiver["logits"]) == {"2.1", "2.6", "3.3"}
    assert by_receiver["logits"]["3.3"] > 0 > by_receiver["logits"]["2.1"], "one works against the answer"
    assert {r: set(s) for r, s in by_receiver.items() if r != "logits"} == {
        f"{head}.k": {"0.2", "0.5"} for head in ("2.1", "2.6", "3.3")
    }


def test_a_search_over_the_true_heads_finds_them_with_fewer_passes(known):
    stack, sets = known
    whole, part = Effects(stack, sets.find), Effects(stack, sets.find)
    rule = Threshold("absolute", least=0.02)
    everything = Search(whole, rule).run()
    restricted = Search(part, rule, allowed=everything.heads).run()
    assert restricted.heads == everything.heads
    assert part.cost.total_passes < whole.cost.total_passes / 2
    without = everything.heads - {Head(2, 1)}
    assert Search(Effects(stack, sets.find), rule, allowed=without).run().heads == without


def test_places_are_told_apart(known):
    stack, sets = known
    found = Search(Effects(stack, sets.find), Threshold("absolute", least=0.02), places=("END", "FIRST+1")).run()
    heads = set(map(str, found.heads))
    assert {"2.1@END", "2.6@END", "3.3@END", "0.2@FIRST+1", "0.5@FIRST+1"} <= heads
    assert "2.1@FIRST+1" not in heads and "0.2@END" not in heads


def test_a_killed_search_goes_on(known, tmp_path, monkeypatch):
    stack, sets = known
    file = tmp_path / "edges.jsonl"
    key = {"prompts": sets.find.digest}
    rule = Threshold("absolute", least=0.02)
    whole = Effects(stack, sets.find, batch_tokens=4000, file=EdgeFile(file, key))
    expected = Search(whole, rule).run()
    lines = file.read_text().splitlines()
    assert sum("cost" in line for line in lines[:70]) >= 1
    file.write_text("\n".join(lines[:70]) + "\n" + lines[70][:7])  # killed in the middle of a line
    again = Effects(stack, sets.find, batch_tokens=4000, file=EdgeFile(file, key))
    found = Search(again, rule).run()
    assert found.heads == expected.heads
    assert all(abs(found.scored[k].mean - e.mean) < 1e-6 for k, e in expected.scored.items())
    assert again.cost.passes == whole.cost.passes, "what was computed before counts, and once"
    rows = [row for line in file.read_text().splitlines()[1:] if isinstance(row := json.loads(line), list)]
    assert len(rows) == len({(r, s) for r, s, _, _ in rows}) == len(expected.scored)
    third = Effects(stack, sets.find, file=EdgeFile(file, key))
    monkeypatch.setattr("harness.circuits.effects.Paths", None)  # nothing is left to compute
    assert Search(third, rule).run().heads == expected.heads
    assert third.cost.passes == whole.cost.passes
    with pytest.raises(ValueError, match="another model, other prompts"):
        EdgeFile(file, {"prompts": "others"})


def test_batches_do_not_matter():
    stack = Stack(tiny("qwen2").double())
    prompts = random_prompts(n=7, shared=1)
    one, many = (make_effects(stack, prompts, tokens) for tokens in (16384, 30))
    senders = [Head(0, h) for h in range(4)]
    receivers = [Receiver("logits", 3), Receiver("k", 1, 1)]
    a, b = one.of(senders, receivers), many.of(senders, receivers)
    assert a.keys() == b.keys()
    assert all(abs(a[k].mean - b[k].mean) < 1e-10 and abs(a[k].se - b[k].se) < 1e-10 for k in a)
    assert one.cost.passes == many.cost.passes


def make_effects(stack, prompts, tokens=16384):
    """On random models clean prompts may be no better than corrupt ones: turn them round where they are not."""
    try:
        return Effects(stack, prompts, batch_tokens=tokens)
    except NoEffectError:
        return Effects(stack, prompts.swapped(), batch_tokens=tokens)


def test_a_model_that_does_not_do_the_task():
    stack, prompts = Stack(tiny("gpt2")), random_prompts()
    with pytest.raises(NoEffectError, match="does not do the task"):
        for turned in (prompts, prompts.swapped()):
            Effects(stack, turned)


def test_activation_patching_equals_one_run_a_head():
    model = tiny("olmo2").double()
    effects = make_effects(Stack(model), random_prompts(n=5, shared=2))
    plain, prompts = Plain(model), effects.prompts
    got = activation_effects(effects, [Head(i, h) for i in range(3) for h in range(4)])
    _, corrupt, _ = plain.run(prompts.corrupt_NT)
    for head, effect in got.items():
        d = plain.anatomy.head_size
        at = slice(head.head * d, (head.head + 1) * d)

        def before(_module, args, at=at, head=head):
            value = args[0].clone()
            value[..., at] = corrupt[head.layer][..., at]
            return (value, *args[1:])

        handle = plain.outputs[head.layer].register_forward_pre_hook(before)
        with torch.no_grad():
            logits = model(prompts.clean_NT).logits[torch.arange(5), prompts.ends_N]
        handle.remove()
        change = (measure("logit_diff", logits, prompts) - effects.clean_N).mean() / effects.gap
        assert effect.mean == pytest.approx(float(change), abs=1e-10)


def test_attribution_is_the_slope_of_activation_patching():
    """A central difference along the change of a head's output, with plain hooks (RMSNorm would round to fp32)."""
    model = tiny("gpt2").double()
    effects = make_effects(Stack(model), random_prompts(n=4, shared=1))
    plain, prompts = Plain(model), effects.prompts
    got = attribution_effects(effects)
    (_, clean, _), (_, corrupt, _) = plain.run(prompts.clean_NT), plain.run(prompts.corrupt_NT)
    d, step = plain.anatomy.head_size, 1e-4
    for head in (Head(0, 2), Head(1, 0), Head(2, 3)):
        at, values = slice(head.head * d, (head.head + 1) * d), []
        for sign in (1, -1):

            def before(_module, args, at=at, sign=sign, head=head):
                value = args[0].clone()
                value[..., at] += sign * step * (corrupt[head.layer] - clean[head.layer])[..., at]
                return (value, *args[1:])

            handle = plain.outputs[head.layer].register_forward_pre_hook(before)
            with torch.no_grad():
                logits = model(prompts.clean_NT).logits[torch.arange(4), prompts.ends_N]
            handle.remove()
            values.append(measure("logit_diff", logits, prompts).mean())
        slope = float(values[0] - values[1]) / (2 * step) / effects.gap
        assert got[head].mean == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_counted_operations_of_gradients_are_those_that_run(kind):
    effects = make_effects(Stack(tiny(kind).double()), random_prompts(n=4, lengths=False))
    before = effects.cost.total_flops
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        attribution_effects(effects, 2)
    assert effects.cost.total_flops - before == counter.get_total_flops()


def test_integrated_gradients_see_what_one_gradient_misses(known):
    """The planted heads that write the word before: the softmax is flat at the clean prompt, not on the way to it."""
    stack, sets = known
    effects = Effects(stack, sets.find)
    real = activation_effects(effects, [Head(0, 2)])[Head(0, 2)].mean
    one, five = attribution_effects(effects)[Head(0, 2)].mean, attribution_effects(effects, 5)[Head(0, 2)].mean
    assert real < -0.05
    assert abs(one) < 0.02 < abs(five)
    with pytest.raises(ValueError, match="at least 1"):
        attribution_effects(effects, 0)


def test_heads_as_text():
    heads = parse_heads("9.6, 10.0 9.6 2.2@S1+1")
    assert heads_text(heads) == "2.2@S1+1 9.6 10.0"
    assert parse_heads(heads_text(heads)) == heads
    with pytest.raises(ValueError, match="'9,6' is no head"):
        parse_heads(["9,6"])
