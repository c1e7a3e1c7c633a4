"""What a circuit task measures at the position whose next token is asked for.

Axes: N prompts, V vocabulary, A answers; logits may have further axes in front.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.circuits.prompts import NO_TOKEN, Prompts

METRICS: dict[str, str] = {
    "logit_diff": "mean logit of the right answers less that of the wrong ones (Wang et al. 2023, section 2)",
    "logit_diff_max": "mean logit of the right answers less the largest of the wrong ones (Heimersheim & Janiak 2023)",
    "prob_diff": "probability of the right answers less that of the wrong ones (Hanna et al. 2023, section 2)",
    "sharpness": "probability just above the cut-off less that just below (Hanna et al. 2023, section 2)",
    "kl": "KL divergence from the reference's next token, nats",
    "accuracy": "share of prompts whose likeliest answer is a right one",
    "top1": "share of prompts whose likeliest token is a right answer",
}


def measure(metric: str, logits: Tensor, prompts: Prompts, reference_NV: Tensor | None = None) -> Tensor:
    """A metric, prompt by prompt.

    Args:
        metric: one of `METRICS`.
        logits: ``[..., N, V]``.
        prompts: the prompts, in the order of N.
        reference_NV: for ``kl``: logits of the model that is compared with.

    Returns:
        ``[..., N]``; ``kl`` is larger the worse, the others the better.

    Raises:
        ValueError: for an unknown metric, or one that these prompts or arguments do not allow.
    """
    if metric in ("logit_diff", "logit_diff_max"):
        right = _mean(logits, prompts.right_NA)
        wrong = _mean(logits, prompts.wrong_NA) if metric == "logit_diff" else _most(logits, prompts.wrong_NA)
        return right - wrong
    if metric == "prob_diff":
        chances = logits.softmax(dim=-1)
        return _sum(chances, prompts.right_NA) - _sum(chances, prompts.wrong_NA)
    if metric == "sharpness":
        if prompts.edges_N2 is None:
            raise ValueError("sharpness: these prompts have no cut-off")
        at = prompts.edges_N2.to(logits.device).expand(*logits.shape[:-1], 2)
        above, below = logits.softmax(dim=-1).gather(-1, at).unbind(dim=-1)
        return above - below
    if metric == "kl":
        if reference_NV is None:
            raise ValueError("kl: no reference to compare with")
        expected, got = reference_NV.log_softmax(dim=-1), logits.log_softmax(dim=-1)
        return (expected.exp() * (expected - got)).sum(dim=-1)
    if metric == "accuracy":
        return (_most(logits, prompts.right_NA) > _most(logits, prompts.wrong_NA)).to(logits.dtype)
    if metric == "top1":
        best = logits.argmax(dim=-1, keepdim=True)
        return (best == prompts.right_NA.to(logits.device)).any(dim=-1).to(logits.dtype)
    raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")


def _gather(values: Tensor, tokens_NA: Tensor) -> tuple[Tensor, Tensor]:
    """Values of some tokens, ``[..., N, A]``, and which of them there are."""
    tokens = tokens_NA.to(values.device)
    there = tokens != NO_TOKEN
    at = tokens.clamp_min(0).expand(*values.shape[:-1], tokens.shape[-1])
    return values.gather(-1, at), there


def _sum(values: Tensor, tokens_NA: Tensor) -> Tensor:
    found, there = _gather(values, tokens_NA)
    return (found * there).sum(dim=-1)


def _mean(values: Tensor, tokens_NA: Tensor) -> Tensor:
    found, there = _gather(values, tokens_NA)
    return (found * there).sum(dim=-1) / there.sum(dim=-1)


def _most(values: Tensor, tokens_NA: Tensor) -> Tensor:
    found, there = _gather(values, tokens_NA)
    return found.masked_fill(~there, -torch.inf).amax(dim=-1)
