"""Verification against brute force over every circuit of a tiny model, and the choice of sizes by hand."""

import itertools

import pytest
import torch
from circuits_support import random_prompts
from conftest import tiny
from scipy.integrate import trapezoid

from harness.circuits.ablation import Ablated, corrupt_means
from harness.circuits.compare import agreement, areas
from harness.circuits.nodes import Head, parse_heads
from harness.circuits.references import REFERENCES, reference
from harness.circuits.scores import keep
from harness.circuits.share import Share
from harness.circuits.sparsity import Candidate, Curve, choose, cliffs, performances, sweep, unions
from harness.circuits.stack import Stack
from harness.circuits.verify import verify


@pytest.fixture(scope="module")
def ablated():
    """Two layers of two heads: sixteen circuits, of which every one can be looked at."""
    model = tiny("gpt2", n_layer=2, n_head=2).double()
    stack = Stack(model)
    means = corrupt_means(stack, random_prompts(n=8, seed=2))
    return Ablated(stack, random_prompts(n=12, seed=1), "template", means)


HEADS = [Head(i, h) for i in range(2) for h in range(2)]
EVERY = [frozenset(c) for n in range(5) for c in itertools.combinations(HEADS, n)]


@pytest.fixture(scope="module")
def truth(ablated):
    """Faithfulness of all sixteen."""
    values = ablated.values(EVERY, ["logit_diff"])["logit_diff"].mean(dim=1)
    full, floor = values[EVERY.index(frozenset(HEADS))], values[EVERY.index(frozenset())]
    return {c: float((v - floor) / (full - floor)) for c, v in zip(EVERY, values, strict=True)}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_verification_is_brute_force(ablated, truth, size):
    circuit = frozenset(HEADS[:size])
    v = verify(ablated, circuit, "logit_diff", nulls=400, subsets=40)
    assert v.size == size and v.sparsity == 1 - size / 4 and v.n == 12
    assert v.faithfulness.value == pytest.approx(truth[circuit])
    assert v.faithfulness.low <= v.faithfulness.value <= v.faithfulness.high
    assert v.raw == pytest.approx(v.circuit / v.full)
    by_kind = {null.kind: null for null in v.nulls}
    same_size = [truth[c] for c in EVERY if len(c) == size]
    share = sum(f >= truth[circuit] - 1e-9 for f in same_size) / len(same_size)
    assert by_kind["random"].p == pytest.approx(share, abs=0.08)
    assert by_kind["random"].mean == pytest.approx(
        sum(same_size) / len(same_size), abs=0.15 * (max(same_size) - min(same_size)) + 1e-9
    )
    layers = [sum(h.layer == i for h in circuit) for i in range(2)]
    alike = [truth[c] for c in EVERY if [sum(h.layer == i for h in c) for i in range(2)] == layers]
    share = sum(f >= truth[circuit] - 1e-9 for f in alike) / len(alike)
    assert by_kind["layers"].p == pytest.approx(share, abs=0.08)
    for head in circuit:
        lost, se = v.minimality[str(head)]
        assert lost == pytest.approx(truth[circuit] - truth[circuit - {head}]) and se > 0
    sets = [frozenset(c) for n in range(1, size + 1) for c in itertools.combinations(sorted(circuit), n)]
    worst = max(abs(truth[circuit - k] - truth[frozenset(HEADS) - k]) for k in sets)
    assert v.incompleteness == pytest.approx(worst)
    k = frozenset(parse_heads(v.incomplete_without))
    assert abs(truth[circuit - k] - truth[frozenset(HEADS) - k]) == pytest.approx(worst)


def test_the_model_is_faithful_to_itself(ablated):
    v = verify(ablated, HEADS, "logit_diff", nulls=10)
    assert (v.faithfulness.value, v.kl, v.sparsity) == pytest.approx((1, 0, 0), abs=1e-9)
    assert v.accuracy.value == v.accuracy_full
    assert {null.p for null in v.nulls} == {1.0}, "every circuit of that size is this one"


def test_no_heads_are_the_floor(ablated):
    v = verify(ablated, [], "logit_diff", nulls=0)
    assert v.faithfulness.value == pytest.approx(0)
    assert v.kl == pytest.approx(v.kl_floor)
    assert not v.minimality and v.incompleteness is None


def test_the_interval_covers():
    """The bootstrap of a ratio of means covers the true ratio about as often as it says."""
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(200):
        full = 5 + torch.randn(80, generator=generator, dtype=torch.float64)
        floor = 1 + 0.5 * torch.randn(80, generator=generator, dtype=torch.float64)
        circuit = floor + 0.7 * (full - floor) + torch.randn(80, generator=generator, dtype=torch.float64)
        found = Share(full, floor).interval(circuit, trial)
        hits += found.low <= 0.7 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_agreement_and_areas(ablated, truth):
    found = agreement({Head(0, 1), Head(1, 0, "END")}, {Head(0, 1), Head(1, 1), Head(1, 0)})
    assert found == {"tpr": pytest.approx(2 / 3), "precision": 1.0, "iou": pytest.approx(2 / 3)}
    assert agreement([], [Head(0, 0)]) == {"tpr": 0.0, "precision": None, "iou": 0.0}
    order = [HEADS[i] for i in (2, 0, 3, 1)]
    fractions = (0.25, 0.5, 0.75, 1.0)
    f = [truth[frozenset(order[:n])] for n in (1, 2, 3, 4)]
    cpr, cmd = areas(ablated, order, "logit_diff", fractions)
    assert cpr == pytest.approx(trapezoid(f, fractions))
    assert cmd == pytest.approx(trapezoid([abs(1 - x) for x in f], fractions))


def test_a_sweep_is_every_size(ablated, truth):
    scores = {h: float(i) for i, h in enumerate(HEADS)}
    before = ablated.cost.passes["ablated"]
    curve = sweep(ablated, scores, "logit_diff", [p / 100 for p in range(0, 100, 2)])
    assert ablated.cost.passes["ablated"] == before, "all sizes are known already"
    for sparsity, value in zip(curve.sparsities, curve.performance, strict=True):
        assert value == pytest.approx(truth[keep(scores, sparsity)])
    assert performances(ablated, [frozenset(HEADS[:2])], "logit_diff") == pytest.approx([truth[frozenset(HEADS[:2])]])


def test_cliffs_by_hand():
    grid = tuple(p / 100 for p in range(0, 100, 5))
    values = [1.0] * 8 + [0.85] * 4 + [0.3] * 8
    found = cliffs(Curve(grid, tuple(values)))
    # A window is 9.5 points wide: from 0.35 on it holds the fall to 0.85 at 0.40, from 0.55 on that to 0.3.
    assert found == {"first": 0.35, "biggest": 0.55, "fixed": 0.75}
    assert cliffs(Curve(grid, (0.5,) * 20)) == {"first": 0.0, "biggest": 0.0, "fixed": 0.75}


def test_the_choice():
    def candidate(name, size, performance):
        return Candidate(name, frozenset(Head(0, i) for i in range(size)), performance)

    small, middle, large = candidate("s", 3, 0.5), candidate("m", 6, 0.8), candidate("l", 12, 0.99)

    def name(candidates, **settings):
        found, as_asked = choose(candidates, **settings)
        return found.name, as_asked

    assert name([large, small, middle]) == ("m", True)
    assert name([large, small, middle], least=0.9) == ("l", True)
    assert name([large, small, middle], least=0.9, largest=8) == ("m", False), "the knee"
    assert name([small, candidate("t", 3, 0.6)], least=0.9) == ("t", False)
    # Both ends of a front lie on the line between them: neither is a knee, and the smaller one does nothing.
    useless = candidate("u", 2, 0.02)
    assert name([useless, large], largest=8) == ("l", False)
    below = candidate("b", 6, 0.1)
    assert name([useless, below, large], largest=4) == ("l", False), "a front that is hollow has no knee"
    with pytest.raises(ValueError, match="no circuit"):
        choose([])


def test_unions():
    a, b = {"first": frozenset({Head(0, 0)})}, {"first": frozenset({Head(0, 1)}), "fixed": frozenset({Head(0, 0)})}
    assert unions(a, b) == {"first+first": {Head(0, 0), Head(0, 1)}, "first+fixed": {Head(0, 0)}}


def test_published_circuits():
    """What the notes of the released code say of its circuits and Wang et al.'s."""
    wang, found, hybrid = (reference(n).heads for n in ("ioi", "ioi_path_patching", "ioi_hybrid"))
    assert (len(wang), len(found), len(hybrid)) == (26, 21, 45)
    assert len(wang & found) == 18 and len(wang & hybrid) == 17 and len(found & hybrid) == 18
    both = agreement(found, wang)
    assert both["tpr"] == pytest.approx(0.692, abs=5e-4) and both["precision"] == pytest.approx(0.857, abs=5e-4)
    assert {str(h) for h in found - wang} == {"4.3", "6.0", "7.1"}
    assert reference("ioi_naive").heads < wang and len(reference("ioi_naive").heads) == 13
    assert all(r.source and r.heads for r in REFERENCES.values())
    with pytest.raises(ValueError, match="unknown reference circuit 'gp'; known: ioi"):
        reference("gp")
