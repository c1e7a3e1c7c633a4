"""Evidence of crosscoders: which latents there are, what their loss costs, and what orders them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import stats

from harness.claims.evidence import Evidence
from harness.config.claims import Claim
from harness.statistics import ALPHA, POWER, Comparison, Estimate, mean_interval

NORMAL = float(stats.norm.ppf(1 - ALPHA / 2))


def latent_evidence(record: dict[str, Any], claim: Claim) -> list[Evidence]:
    """The differences that decide a claim about latents.

    Args:
        record: what a study of crosscoders stored.
        claim: the claim; its tasks are tasks of minimal pairs.

    Raises:
        ValueError: for a task, class or pair of models that the study has not.
    """
    find = {
        "latents_emerged": _emerged,
        "latents_ablated": _ablated,
        "relative_order": _order,
    }[claim.config.measure]
    out = []
    for variant, against, task in claim.pairs:
        if task not in record["tasks"]:
            raise ValueError(f"no task {task!r} was taken apart; tasks: {', '.join(record['tasks'])}")
        out += find(record, task, variant, against)
    return out


def _emerged(record: dict[str, Any], task: str, classes: str, against: str) -> list[Evidence]:
    """Latents of some classes (``B+C+B-C``) as a share of all, against those of the null."""
    if against != "null" or record["null"] is None:
        raise ValueError(
            "classes of latents are compared with those of the null (against: [null], crosscoder.null=true)"
        )
    names, total = classes.split("+"), int(record["config"]["training"]["latents"])
    own, null = (
        sum(int(counts.get(name, 0)) for name in names)
        for counts in (record["tasks"][task]["classes"], record["null"][task])
    )
    one, other = (mean_interval([1.0] * k + [0.0] * (total - k)) for k in (own, null))
    d = one.value - other.value
    # Newcombe (1998), method 10: of two independent shares, from the interval of each.
    low = d - math.hypot(one.value - one.low, other.high - other.value)
    high = d + math.hypot(one.high - one.value, other.value - other.low)
    p = float(stats.fisher_exact(np.array([[own, total - own], [null, total - null]])).pvalue)
    error = (high - low) / 2 / NORMAL
    comparison = Comparison(
        Estimate(d, low, high, total, "Newcombe"),
        p,
        own,
        null,
        _resolvable(error),
        "Fisher exact",
        (low + high) / 2,
        error,
    )
    return [Evidence(f"latents {classes} on {task} ({own}, null {null})", comparison, of="latents")]


def _ablated(record: dict[str, Any], task: str, kind: str, against: str) -> list[Evidence]:
    """What a class's strongest latents cost the models that have them, against as many others of like activity."""
    found = record["tasks"][task]["ablations"]
    if kind not in found or against != "controls":
        raise ValueError(
            f"no latents of class {kind!r} were taken out (classes: {', '.join(found)}), or compared with {against!r} "
            "(controls)"
        )
    out = []
    for row in found[kind]:
        if row["model"] not in kind.split("-"):
            continue
        controls = np.asarray(row["control_losses"], dtype=float)
        if len(controls) < 3:
            raise ValueError(f"{len(controls)} controls of class {kind} are too few (crosscoder.analysis.controls)")
        d, freedom = float(row["loss"]["value"] - controls.mean()), len(controls) - 1
        # A prediction interval: is this set one of the controls?
        error = float(controls.std(ddof=1) * math.sqrt(1 + 1 / len(controls)))
        half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
        p = float(2 * stats.t.sf(abs(d) / error, freedom)) if error else float(d == 0)
        difference = Estimate(d, d - half, d + half, len(controls), "prediction")
        comparison = Comparison(difference, p, 0, 0, _resolvable(error), "t against controls", d, error, freedom)
        about = f"{len(row['latents'])} latents {kind} out of {row['model']} on {task}"
        out.append(Evidence(about, comparison, unit="logits", of="controls", shrinks=False))
    return out


def _order(record: dict[str, Any], task: str, pair: str, against: str) -> list[Evidence]:
    """Spearman's correlation with the exact effects' shares: RelIE's less RelDec's.

    Fisher's z of each with the variance of Spearman's (Fieller, Hartley & Pearson 1957); taken as independent, which is
    cautious: both are of the same latents.
    """
    begin, _, end = pair.partition("-")
    rows = [v for v in record["tasks"][task]["validity"] if (v["begin"], v["end"]) == (begin, end)]
    if not rows or against != "RelDec":
        there = ", ".join(f"{v['begin']}-{v['end']}" for v in record["tasks"][task]["validity"])
        raise ValueError(f"no order of {pair!r} (pairs: {there}), or compared with {against!r} (RelDec)")
    n, (r, other) = int(rows[0]["latents"]), (float(rows[0][k]) for k in ("relative_effect", "relative_norm"))
    if n < 5:
        raise ValueError(f"{n} latents are too few to order")
    r, other = (min(max(x, -0.999), 0.999) for x in (r, other))  # a perfect order has no z
    error = math.sqrt(1.06 / (n - 3))
    ends = [[math.tanh(math.atanh(x) + s * NORMAL * error) for s in (-1, 1)] for x in (r, other)]
    d = r - other
    low = d - math.hypot(r - ends[0][0], ends[1][1] - other)
    high = d + math.hypot(ends[0][1] - r, other - ends[1][0])
    p = float(2 * stats.norm.sf(abs(math.atanh(r) - math.atanh(other)) / (error * math.sqrt(2))))
    of_difference = (high - low) / 2 / NORMAL
    comparison = Comparison(
        Estimate(d, low, high, n, "Zou"),
        p,
        0,
        0,
        _resolvable(of_difference),
        "Fisher's z",
        (low + high) / 2,
        of_difference,
    )
    return [Evidence(f"RelIE vs RelDec, {pair} on {task}", comparison, unit="of Spearman's rho", of="latents")]


def _resolvable(error: float) -> float:
    return (NORMAL + float(stats.norm.ppf(POWER))) * error
