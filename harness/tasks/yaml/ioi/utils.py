"""Scores of a pair of continuations, one right and one wrong."""

from __future__ import annotations

from typing import Any


def pair_results(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Accuracy and logit difference of a pair.

    Both continuations follow the same prompt, so the difference of their log-probabilities is the
    difference of their logits where each is one token (Wang et al. 2023, section 2); where one has
    several tokens it is the difference of the log-probabilities of the whole names.
    """
    (right, _), (wrong, _) = results
    return {"acc": float(right > wrong), "logit_diff": right - wrong}
