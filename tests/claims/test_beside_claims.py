"""Claims about differences, circuits and latents: files written by hand, statsmodels and scipy as oracles."""

import json

import numpy as np
import pytest
from scipy import stats

from harness.claims import judge_claim, keep_asked
from harness.config.claims import Claim, ClaimConfig


def claim(measure, **keys):
    return Claim("c", "m", ClaimConfig(paper="p", statement="s.", measure=measure, **keys))


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def delta_row(part, layer, norm, peaks=(0.0,), bias=False):
    return {
        "part": part, "layer": layer, "is_bias": bias, "norm": norm, "relative": norm / 10,
        "modality": {"dip": 0.1, "p": 0.01, "peaks": list(peaks)},
    }  # fmt: skip


@pytest.fixture
def deltas(tmp_path):
    rows = [delta_row("o_proj", i, 2.0 + i / 10, (-1, 1)) for i in range(12)]
    rows += [delta_row("q_proj", i, 1.0 + i / 20) for i in range(12)]
    rows += [delta_row("q_proj", i, 99.0, bias=True) for i in range(12)]
    rows += [delta_row("norm", None, 50.0)]
    write(tmp_path / "delta" / "m" / "delta.json", {"rows": rows})
    return tmp_path


def test_parts_are_compared_layer_by_layer(deltas):
    found = judge_claim(deltas, claim("delta_l2", variants=["o_proj"], against=["q_proj"]), 0.05)
    assert found.verdict == "supported"
    c = found.parts[0][0].comparison
    assert c.difference.value == pytest.approx(np.mean([1.0 + i / 20 for i in range(12)]))
    assert c.p == pytest.approx(2 / 2**12)  # every layer says so
    assert found.parts[0][0].of == "layers"
    modes = judge_claim(deltas, claim("delta_bimodal", variants=["o_proj"], against=["q_proj"]), 0.05)
    assert modes.verdict == "supported"
    wrong = judge_claim(deltas, claim("delta_l2", variants=["o_porj"], against=["q_proj"]), 0.05)
    assert "no part 'o_porj' was compared; parts: o_proj, q_proj" in wrong.why


def circuit(tmp_path, method, value, half, flops):
    write(
        tmp_path / "circuits" / "m" / "ioi" / method / "circuit.json",
        {
            "cost": {"flops": {"trace": {"0": flops / 2, "1": flops / 4}, "ablated": {"0": flops / 4}}},
            "verified": {"n": 200, "faithfulness": {"value": value, "low": value - half, "high": value + half}},
        },
    )


def test_circuits_are_compared_by_what_they_keep_and_cost(tmp_path):
    circuit(tmp_path, "app", 0.9, 0.03, 100.0)
    circuit(tmp_path, "path_patching", 0.92, 0.04, 400.0)
    keys = {"variants": ["app"], "against": ["path_patching"], "tasks": ["ioi"]}
    kept = judge_claim(tmp_path, claim("circuit_kept", direction="not_below", margin=0.1, **keys), 0.05)
    assert kept.verdict == "supported"
    c = kept.parts[0][0].comparison
    error = np.hypot(0.03, 0.04) / stats.norm.ppf(0.975)
    assert c.error == pytest.approx(error)
    assert c.p == pytest.approx(2 * stats.norm.sf(0.02 / error))
    whole = judge_claim(tmp_path, claim("circuit_kept", **{**keys, "against": ["model"]}, direction="below"), 0.05)
    assert whole.verdict == "supported"
    for margin, verdict in ((0.5963, "supported"), (0.80, "contradicted")):
        found = judge_claim(tmp_path, claim("circuit_flops", direction="below", margin=margin, **keys), 0.05)
        assert found.verdict == verdict
        assert found.parts[0][0].comparison.difference.value == -0.75
        assert "-75.0% (counted)" in found.text
    missing = judge_claim(tmp_path, claim("circuit_kept", **{**keys, "variants": ["flap"]}), 0.05)
    assert missing.verdict == "not measured"


@pytest.fixture
def latents(tmp_path):
    losses = np.random.default_rng(0).normal(0, 0.02, 50)
    study = {
        "config": {"training": {"latents": 512}},
        "models": {"A": "a", "B": "b", "C": "c"},
        "null": {"pairs": {"A-B-C": 41, "unclassed": 471}},
        "tasks": {
            "pairs": {
                "classes": {"B": 15, "B-C": 19, "C": 13, "other": 3, "unclassed": 462},
                "validity": [
                    {"begin": "A", "end": "B", "relative_effect": 0.9, "relative_norm": 0.1, "latents": 40},
                    {"begin": "A", "end": "C", "relative_effect": 1.0, "relative_norm": 1.0, "latents": 40},
                ],
                "ablations": {
                    "C": [
                        {"model": name, "latents": [1, 2], "loss": {"value": value}, "control_losses": losses.tolist()}
                        for name, value in (("A", 9.0), ("C", 0.5))
                    ],
                },
            }
        },
    }
    write(tmp_path / "crosscoder" / "checkpoints" / "crosscoder.json", study)
    return tmp_path, losses


def test_a_study_of_checkpoints_is_of_one_of_the_folders_models(latents):
    folder, keys = latents[0], {"variants": ["B+C+B-C"], "against": ["null"], "tasks": ["pairs"]}
    keep_asked(folder, [], ["m"])
    assert judge_claim(folder, claim("latents_emerged", **keys), 0.05).verdict == "supported"
    keep_asked(folder, [], ["m", "other"])
    found = judge_claim(folder, claim("latents_emerged", **keys), 0.05)
    assert (found.verdict, found.why) == (
        "not measured",
        f"{folder}/crosscoder/checkpoints is a study of A, B, C, not of m",
    )
    path = folder / "crosscoder" / "checkpoints" / "crosscoder.json"
    write(path, {**json.loads(path.read_text()), "models": {"early": "x", "m": "y"}})
    assert judge_claim(folder, claim("latents_emerged", **keys), 0.05).verdict == "supported"


def test_latents_against_the_null(latents):
    tables = pytest.importorskip("statsmodels.stats.proportion")
    found = judge_claim(
        latents[0], claim("latents_emerged", variants=["B+C+B-C"], against=["null"], tasks=["pairs"]), 0.05
    )
    assert found.verdict == "supported"
    c = found.parts[0][0].comparison
    low, high = tables.confint_proportions_2indep(47, 512, 0, 512, method="newcomb")
    assert (c.difference.low, c.difference.high) == pytest.approx((low, high), abs=1e-9)
    assert c.p == pytest.approx(stats.fisher_exact([[47, 465], [0, 512]]).pvalue)


def test_a_class_is_taken_out_of_the_models_that_have_it(latents):
    folder, losses = latents
    found = judge_claim(folder, claim("latents_ablated", variants=["C"], against=["controls"], tasks=["pairs"]), 0.05)
    assert found.verdict == "supported"
    (part,) = found.parts
    c = part[0].comparison
    # A new draw among the controls: scipy's own prediction is that of a regression on nothing.
    half = stats.t.ppf(0.975, 49) * losses.std(ddof=1) * np.sqrt(1 + 1 / 50)
    assert c.difference.high - c.difference.value == pytest.approx(half)
    assert c.difference.value == pytest.approx(0.5 - losses.mean())
    assert "out of C on pairs" in found.text


def test_orders_are_compared_with_the_error_of_both(latents):
    keys = {"against": ["RelDec"], "tasks": ["pairs"]}
    found = judge_claim(latents[0], claim("relative_order", variants=["A-B"], **keys), 0.05)
    assert found.verdict == "supported"
    z = (np.arctanh(0.9) - np.arctanh(0.1)) / np.sqrt(2 * 1.06 / 37)
    assert found.parts[0][0].comparison.p == pytest.approx(2 * stats.norm.sf(z))
    perfect = judge_claim(latents[0], claim("relative_order", variants=["A-C"], **keys), 0.05)
    assert perfect.verdict == "unresolved"
    assert "pairs: A-B, A-C" in judge_claim(latents[0], claim("relative_order", variants=["B-C"], **keys), 0.05).why


def test_files_that_are_none(tmp_path):
    keys = {"variants": ["o_proj"], "against": ["q_proj"]}
    assert judge_claim(tmp_path, claim("delta_l2", **keys), 0.05).verdict == "not measured"
    path = tmp_path / "delta" / "m" / "delta.json"
    for text, message in (("{", "cannot be read"), ("[]", "expected an object"), ('{"rows": [{}]}', "of another form")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        found = judge_claim(tmp_path, claim("delta_l2", **keys), 0.05)
        assert found.verdict == "not decided"
        assert message in found.why
