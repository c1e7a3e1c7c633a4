"""Scores of continuations of which some are right."""

from __future__ import annotations

import math
from typing import Any


def circuit_results(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Metrics of the circuit tasks, from log-probabilities of all continuations.

    All follow the same prompt, so differences of log-probabilities are differences of logits where each is one token;
    where some have several tokens they are those of the whole continuations.

    ``acc``: the likeliest one is right; ``logit_diff``: mean of the right ones less mean of the wrong ones (Wang et al.
    2023); ``logit_diff_max``: less the largest wrong one (Heimersheim & Janiak 2023); ``prob_diff``: probability of the
    right ones less that of the wrong ones (Hanna et al. 2023).
    """
    likelihoods = [value for value, _ in results]
    right = [likelihoods[i] for i in doc["right"]]
    wrong = [value for i, value in enumerate(likelihoods) if i not in doc["right"]]
    out = {
        "acc": float(max(right) > max(wrong)),
        "logit_diff": sum(right) / len(right) - sum(wrong) / len(wrong),
        "logit_diff_max": sum(right) / len(right) - max(wrong),
        "prob_diff": sum(map(math.exp, right)) - sum(map(math.exp, wrong)),
    }
    if doc["edges"]:
        above, below = (math.exp(likelihoods[i]) for i in doc["edges"])
        out["sharpness"] = above - below  # at the cut-off (Hanna et al. 2023)
    return out
