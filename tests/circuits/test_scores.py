"""Scores against a loop over single positions, and what has to hold of them."""

import pytest
import torch
from circuits_support import Plain, random_prompts
from conftest import tiny

from harness.circuits.nodes import Head
from harness.circuits.prompts import Prompts
from harness.circuits.scores import activations, contrastive, flap, keep, paired, ranked
from harness.circuits.stack import Stack

KINDS = ("gpt2", "qwen3", "gpt_neox", "olmo2")


def by_hand(model, prompts):
    """Rows of each prompt without its padding, and W [out, in], with plain hooks."""
    plain = Plain(model)
    d = plain.anatomy.head_size
    rows = []
    for ids in (prompts.clean_NT, prompts.corrupt_NT):
        _, z, _ = plain.run(ids)
        rows.append({i: [z[i][n, : end + 1] for n, end in enumerate(prompts.ends_N.tolist())] for i in z})
    own = dict(model.named_parameters())
    weights = {
        s.layer: s.layout.read(own[s.name]).detach()
        for s in plain.anatomy.sites
        if s.part == "o_proj" and not s.is_bias
    }
    return rows, weights, d


def by_heads(scores, d):
    """Standardise over a layer's channels; mean over a head's."""
    out = {}
    for layer, values in scores.items():
        values = torch.tensor(values, dtype=torch.float64)
        standard = (values - values.mean()) / values.std()
        for h in range(len(values) // d):
            out[Head(layer, h)] = float(standard[h * d : (h + 1) * d].mean())
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_flap_equals_a_loop(kind):
    model, prompts = tiny(kind).double(), random_prompts(n=5)
    (clean, _), weights, d = by_hand(model, prompts)
    expected = {}
    for layer, found in clean.items():
        channels = []
        for j in range(weights[layer].shape[1]):
            values = [float(x) for sample in found for x in sample[:, j]]
            mean = sum(values) / len(values)
            fluctuation = sum((x - mean) ** 2 for x in values) / len(found)
            channels.append((fluctuation * float((weights[layer][:, j] ** 2).sum())) ** 2)
        expected[layer] = channels
    expected = by_heads(expected, d)
    stack = Stack(model)
    got = flap(stack, activations(stack, prompts))
    assert got.keys() == expected.keys()
    assert all(got[h] == pytest.approx(expected[h], abs=1e-9) for h in got)


@pytest.mark.parametrize("kind", KINDS)
def test_contrastive_equals_a_loop(kind):
    model, prompts = tiny(kind).double(), random_prompts(n=5)
    sides, weights, d = by_hand(model, prompts)
    expected = {}
    for layer, weight in weights.items():
        channels = []
        for j in range(weight.shape[1]):
            t = []
            for side in sides:
                total = sum(float(x) ** 2 for sample in side[layer] for x in sample[:, j])
                t.append(float(weight[:, j].abs().mean()) * (total / len(prompts)) ** 0.5)
            channels.append(abs(t[0] ** 2 - t[1] ** 2))
        expected[layer] = channels
    expected = by_heads(expected, d)
    stack = Stack(model)
    got = contrastive(stack, activations(stack, prompts))
    assert all(got[h] == pytest.approx(expected[h], abs=1e-9) for h in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_paired_equals_a_loop(kind):
    model, prompts = tiny(kind).double(), random_prompts(n=3)
    (clean, corrupt), weights, d = by_hand(model, prompts)
    stack = Stack(model)
    got = paired(stack, activations(stack, prompts))
    ratios = {}
    for layer, weight in weights.items():
        for h in range(stack.n_heads):
            at = slice(h * d, (h + 1) * d)
            pairs = zip(clean[layer], corrupt[layer], strict=True)
            ratios[layer, h] = got[Head(layer, h)] / sum(
                float(((a[:, at] - b[:, at]) @ weight[:, at].T).square().sum()) for a, b in pairs
            )
    for layer in weights:  # one denominator a layer
        of_layer = [value for (i, _), value in ratios.items() if i == layer]
        assert of_layer == pytest.approx([of_layer[0]] * len(of_layer), rel=1e-9)


def test_batches_do_not_matter():
    model, prompts = tiny("llama").double(), random_prompts(n=7)
    stack = Stack(model)
    whole, parts = activations(stack, prompts), activations(stack, prompts, batch_tokens=20)
    for score in (flap, contrastive, paired):
        a, b = score(stack, whole), score(stack, parts)
        assert all(a[h] == pytest.approx(b[h], abs=1e-9) for h in a)


def test_padding_does_not_matter():
    model, prompts = tiny("gpt2").double(), random_prompts(n=4)
    wider = Prompts(
        *(torch.cat([ids, torch.full((4, 3), 9)], dim=1) for ids in (prompts.clean_NT, prompts.corrupt_NT)),
        prompts.ends_N, prompts.right_NA, prompts.wrong_NA, prompts.templates, None, prompts.places,
    )  # fmt: skip
    stack = Stack(model)
    a, b = activations(stack, prompts), activations(stack, wider)
    for score in (flap, contrastive, paired):
        assert score(stack, a) == pytest.approx(score(stack, b), abs=1e-9)


def test_a_change_of_direction_alone():
    """Of z and -z Contrastive-FLAP sees no difference; the paired contrast does."""
    stack = Stack(tiny("gpt2").double())
    found = activations(stack, random_prompts())
    turned = type(found)(found.n, found.clean, found.clean, found.paired)
    assert set(contrastive(stack, turned).values()) == {0.0}
    assert min(paired(stack, turned).values()) > 0


def test_a_dead_layer_scores_zero_and_shifts_nothing():
    model, prompts = tiny("llama").double(), random_prompts()
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    stack = Stack(model)
    for score in (flap, contrastive, paired):
        scores = score(stack, activations(stack, prompts))
        assert all(value == value for value in scores.values())
        assert {scores[Head(1, h)] for h in range(4)} == {0.0}


def test_the_best_are_kept():
    scores = {Head(0, 0): 1.0, Head(0, 1): 3.0, Head(1, 0): 2.0, Head(1, 1): 1.0}
    assert ranked(scores) == [Head(0, 1), Head(1, 0), Head(0, 0), Head(1, 1)]
    assert keep(scores, 0.5) == {Head(0, 1), Head(1, 0)}
    assert keep(scores, 1.0) == frozenset()
    assert len(keep(scores, 0.0)) == 4
    with pytest.raises(ValueError, match="outside 0 to 1"):
        keep(scores, 50)
