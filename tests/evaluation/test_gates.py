import dataclasses

import pytest
from evaluation.test_store import outcome, result

from harness.config.compose import compose_run
from harness.config.schema import GateConfig
from harness.evaluation.cells import CellName
from harness.evaluation.gates import judge
from harness.evaluation.grid import plan_grid
from harness.evaluation.store import Store


@pytest.fixture
def judged(tmp_path):
    """Judges a gate on a variant with so many right of n, against a base with 50%."""

    def inner(rights, gate, n=200):
        store = Store(tmp_path / str(rights))
        results = {}
        for variant, k in (("base", n // 2), ("v", rights)):
            name = CellName("m", variant, "t")
            results[variant] = dataclasses.replace(result(name), score=k / n, n=n)
            store.put(results[variant], [outcome(i, float(i < k)) for i in range(n)])
        return judge(gate, results["v"], {"base": results["base"]}, store)

    return inner


def test_min(judged):
    assert judged(120, GateConfig(min=0.6))[0].passed
    (verdict,) = judged(119, GateConfig(min=0.6))
    assert not verdict.passed
    assert verdict.text == "score 0.5950, at least 0.6 asked (n=200)"


@pytest.mark.parametrize(
    ("rights", "passed", "word"), [(150, True, "holds"), (102, False, "unresolved"), (50, False, "contradicted")]
)
def test_above(judged, rights, passed, word):
    (verdict,) = judged(rights, GateConfig(above="base"))
    assert verdict.passed is passed
    assert word in verdict.text


@pytest.mark.parametrize(
    ("rights", "margin", "passed"),
    [(100, 0.05, True), (100, 0.001, False), (97, 0.05, True), (60, 0.05, False), (150, 0.0, True)],
)
def test_not_below_is_non_inferiority(judged, rights, margin, passed):
    """Equal scores do not pass a margin that the noise exceeds: unresolved is not unchanged."""
    (verdict,) = judged(rights, GateConfig(not_below="base", margin=margin))
    assert verdict.passed is passed


def test_gates_name_what_is_in_the_run():
    for override, text in (
        ("gates.gsm9k.min=0.1", r"unknown task in gates 'gsm9k'.*ioi"),
        ("gates.ioi.above=nothing", r"gates.ioi: 'nothing' is not among the variants"),
    ):
        with pytest.raises(ValueError, match=text):
            plan_grid(compose_run(["tasks=[ioi]", override]))


def test_a_gate_holds_for_the_variants_it_names():
    run = compose_run(
        [
            "tasks=[ioi]",
            "variants=[base,oproj_zeroed,mlp_zeroed]",
            "gates.ioi.above=base",
            "gates.ioi.variants=[mlp_zeroed]",
        ]
    )
    assert [c.name.variant for c in plan_grid(run).cells if c.gate] == ["mlp_zeroed"]
