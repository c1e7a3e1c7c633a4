"""Two cells of one task, paired by document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.evaluation.cells import CellResult, Outcome
from harness.statistics import Comparison, Estimate, compare, is_binary, mean_interval

NOT_FINITE = "outcomes that are not finite"


@dataclass(frozen=True)
class Pairing:
    """A variant's cell against the baseline's.

    Attributes:
        comparison: the statistics, or None if the cells cannot be compared.
        unpaired: documents of either cell that the other lacks, or asks in other words.
        differing: keys of the identity in which the cells differ though only the patch may; then
            nothing is compared, since the difference would not be the variant's.
    """

    comparison: Comparison | None
    unpaired: int = 0
    differing: tuple[str, ...] = ()


def scored(result: CellResult, outcomes: list[Outcome]) -> dict[tuple[str, int, str, str], Outcome]:
    """The outcomes under the cell's own filter, by document."""
    return {o.document: o for o in outcomes if o.filter == result.filter and result.metric in o.metrics}


def estimate(result: CellResult, outcomes: list[Outcome]) -> Estimate:
    """A cell's score with its interval."""
    rows = list(scored(result, outcomes).values())
    return mean_interval([o.metrics[result.metric] for o in rows], clusters_of(rows))


def pair(
    result: CellResult,
    outcomes: list[Outcome],
    other: CellResult,
    other_outcomes: list[Outcome],
    test: str = "auto",
    interval: str = "auto",
) -> Pairing:
    """Compares two cells on the documents that both were asked in the same words; test and interval as `compare`'s."""
    if differing := differing_keys(result, other):
        return Pairing(None, differing=differing)
    return pair_documents(result, outcomes, other, other_outcomes, test, interval)


def pair_documents(
    result: CellResult,
    outcomes: list[Outcome],
    other: CellResult,
    other_outcomes: list[Outcome],
    test: str = "auto",
    interval: str = "auto",
) -> Pairing:
    """As `pair`, whatever else the cells differ in: for runs of other weights, libraries or machines."""
    ours, theirs = scored(result, outcomes), scored(other, other_outcomes)
    common = [key for key in ours if key in theirs]
    unpaired = len(ours) + len(theirs) - 2 * len(common)
    if not common:
        return Pairing(None, unpaired)
    a = [ours[key].metrics[result.metric] for key in common]
    b = [theirs[key].metrics[result.metric] for key in common]
    if not np.isfinite([a, b]).all():
        return Pairing(
            None, unpaired, (NOT_FINITE,)
        )  # its p would be no number, and spoil the correction of all others
    # Outcomes that are not right/wrong (counts, log-likelihoods) have no McNemar's.
    test = "auto" if test == "mcnemar" and not (is_binary(np.array(a)) and is_binary(np.array(b))) else test
    clusters = clusters_of([ours[key] for key in common])
    return Pairing(compare(a, b, clusters, test=test, interval=interval), unpaired)


def differing_keys(result: CellResult, other: CellResult) -> tuple[str, ...]:
    """Keys of the identity in which two cells differ though only the patch may."""
    if result.identity.get("imported") or other.identity.get("imported"):
        # A run of lm-eval's own says little of itself; documents and prompts pair by their hashes all the same.
        return () if (result.metric, result.filter) == (other.metric, other.filter) else ("metric",)
    one = {**result.identity, "metric": f"{result.metric},{result.filter}"}
    two = {**other.identity, "metric": f"{other.metric},{other.filter}"}
    # Other limits show other documents of the same task: the shared ones pair.
    # What a variant that adapts looked at before is its own.
    free = {"patch", "limit", "data", "routing"}
    if one.get("noise") or two.get("noise"):
        # The base in other batches, on purpose.
        free |= {"noise", "batch_size"}
    return tuple(sorted(k for k in {*one, *two} - free if one.get(k) != two.get(k)))


def clusters_of(rows: list[Outcome]) -> list[str] | None:
    """What makes documents alike; None where any has nothing."""
    clusters = [o.cluster for o in rows]
    return None if any(c is None for c in clusters) else [str(c) for c in clusters]
