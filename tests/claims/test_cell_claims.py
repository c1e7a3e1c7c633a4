"""Verdicts on made-up cells whose truth is known."""

import dataclasses

import pytest
from evaluation.test_store import outcome, result

from harness.claims import judge_claim, judge_claims
from harness.config.claims import Claim, ClaimConfig
from harness.evaluation.cells import CellName
from harness.evaluation.judged import JudgedTask, JudgedVariant, key_of, known_by, save
from harness.evaluation.store import Store
from harness.statistics import compare


def put(folder, variant, right, task="t", n=200, tokens=lambda i: 5):
    store, name = Store(folder), CellName("m", variant, task)
    outcomes = [
        dataclasses.replace(outcome(i, float(right(i))), generated_tokens=tokens(i)) for i in range(n)
    ]  # fmt: skip
    score = sum(o.metrics["acc"] for o in outcomes) / n
    store.put(dataclasses.replace(result(name), score=score, n=n), outcomes)
    return store.get(name)


def claim(name="c", **keys):
    keys = {"variants": ["new"], "tasks": ["t"], **keys}
    return Claim(name, "m", ClaimConfig(paper="p", statement="s.", **keys))


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, "base", lambda i: i < 100)
    put(tmp_path, "new", lambda i: i < 150, tokens=lambda i: 9 + i % 2)
    put(tmp_path, "bad", lambda i: i < 60)
    put(tmp_path, "same", lambda i: i < 99 or i == 150)
    return tmp_path


@pytest.mark.parametrize(("keys", "verdict"), [
    ({}, "supported"),
    ({"direction": "below"}, "contradicted"),
    ({"variants": ["bad"], "direction": "below", "margin": 0.1}, "supported"),
    ({"variants": ["new", "same"]}, "unresolved"),
    ({"variants": ["new", "bad"]}, "contradicted"),
    ({"variants": ["same"], "direction": "not_below", "margin": 0.05}, "supported"),
    ({"variants": ["same"], "direction": "alike", "margin": 0.001}, "unresolved"),
    ({"measure": "tokens", "margin": 3}, "supported"),
    ({"against": ["bad", "same"]}, "supported"),
])  # fmt: skip
def test_verdicts(folder, keys, verdict):
    found = judge_claim(folder, claim(**keys), 0.05)
    assert found.verdict == verdict
    assert found.text.startswith(verdict)
    assert len(found.parts) == len(claim(**keys).pairs)


def test_the_numbers_are_those_of_the_comparison(folder):
    found = judge_claim(folder, claim(), 0.05)
    ours = [float(i < 150) for i in range(200)]
    expected = compare(ours, [float(i < 100) for i in range(200)])
    assert found.parts[0][0].comparison == expected
    assert found.parts[0][1].p == expected.p


def test_what_is_unresolved_says_how_many_would_do(folder):
    put(folder, "slightly", lambda i: i < 104 and i != 3)
    found = judge_claim(folder, claim(variants=["slightly"]), 0.05)
    assert found.verdict == "unresolved"
    assert found.needed > 200
    assert f"n={found.needed:,} documents would resolve it" in found.text


def test_more_claims_a_stricter_level(folder):
    put(folder, "some", lambda i: i < 108)  # p = 2/256
    one = judge_claims(folder, [claim(variants=["some"])])
    many = judge_claims(folder, [claim(str(i), variants=["some"]) for i in range(10)])
    assert one[0].verdict == "supported"
    assert {v.verdict for v in many} == {"unresolved"}
    assert many[0].level == pytest.approx(0.005)


def test_seeds_are_held_together_and_settings_found(folder):
    for seed in (0, 1, 2):
        put(folder, f"trained~{seed}", lambda i, seed=seed: i < 150 + seed)
    found = judge_claim(folder, claim(variants=["trained"]), 0.05)
    assert (found.verdict, found.parts[0][0].comparison.test) == ("supported", "t, documents x seeds")
    put(folder, "zeroed(layers=1:3)", lambda i: i < 20)
    assert judge_claim(folder, claim(variants=["zeroed"], direction="below"), 0.05).verdict == "supported"
    put(folder, "zeroed(layers=0:1)", lambda i: i < 20)
    twice = judge_claim(folder, claim(variants=["zeroed"]), 0.05)
    assert twice.verdict == "not decided"
    assert "zeroed(layers=0:1) or zeroed(layers=1:3)" in twice.why


def test_levels_are_read_by_document(folder):
    cells = {v: Store(folder).get(CellName("m", v, "t")) for v in ("base", "new")}
    answers = {
        v: JudgedVariant(
            known_by(cell),
            {key_of("t", i): 1 if v == "new" and i % 4 else 3 for i in range(200)},
            {key_of("t", i): 5 for i in range(200)},
            {},
        )
        for v, cell in cells.items()
    }  # fmt: skip
    save(folder, JudgedTask("m", "t", "base", "rule", "", {}, {}, 0, [], answers))
    found = judge_claim(folder, claim(measure="level_1", margin=0.5), 0.05)
    assert found.verdict == "supported"
    assert found.parts[0][0].comparison.difference.value == pytest.approx(0.75)
    assert judge_claim(folder, claim(measure="level", direction="below"), 0.05).verdict == "supported"
    # Answers that were replaced since have no level.
    put(folder, "new", lambda i: i < 151)
    assert judge_claim(folder, claim(measure="level_1"), 0.05).verdict == "not measured"


def test_what_is_not_there_is_said(folder):
    found = judge_claim(folder, claim(tasks=["u"]), 0.05)
    assert (found.verdict, found.parts) == ("not measured", ())
    assert "no stored cell m/new/u" in found.text
    (folder / "cells" / "m" / "new" / "t.json").write_text("{")
    assert "is not a stored cell" in judge_claim(folder, claim(), 0.05).why


def test_one_part_that_leans_against_would_do_to_contradict(folder):
    put(folder, "worse", lambda i: i < 94)  # six of 200 lost, p = 0.03: not at the level of two parts
    found = judge_claim(folder, claim(variants=["worse", "same"]), 0.05)
    alone = judge_claim(folder, claim(variants=["worse"]), 0.02)
    assert found.verdict == "unresolved"
    assert 200 < found.needed <= 1.5 * alone.needed


def test_runs_of_lm_evals_have_no_tokens(folder):
    cell = Store(folder).get(CellName("m", "new", "t"))
    outcomes = Store(folder).outcomes(cell.name)
    Store(folder).put(dataclasses.replace(cell, identity={**cell.identity, "imported": "x"}), outcomes)
    found = judge_claim(folder, claim(measure="tokens"), 0.05)
    assert found.verdict == "not measured"
    assert "does not count the tokens" in found.why
