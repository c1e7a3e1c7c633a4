"""Circuits beside others, and rankings of heads at every size.

Mueller et al. 2025, "MIB: a mechanistic interpretability benchmark", section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from harness.circuits.ablation import Ablated
from harness.circuits.nodes import Head, everywhere
from harness.circuits.share import Share

# Shares of the heads at which CPR and CMD look, as MIB looks at shares of the edges.
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def agreement(circuit: Collection[Head], truth: Collection[Head]) -> dict[str, float | None]:
    """How a circuit agrees with another: ``tpr``, ``precision``, ``iou`` of its heads; None for a share of nothing."""
    found, true = everywhere(circuit), everywhere(truth)
    both = len(found & true)
    return {
        "tpr": both / len(true) if true else None,
        "precision": both / len(found) if found else None,
        "iou": both / len(found | true) if found | true else None,
    }


def areas(
    ablated: Ablated, order: Sequence[Head], metric: str, fractions: Sequence[float] = FRACTIONS
) -> tuple[float, float]:
    """CPR and CMD of a ranking: areas under f and under ``|1 - f|``, f the faithfulness of its best heads.

    MIB ranks edges by signed score for CPR and by its size for CMD; the caller chooses the order.

    Args:
        ablated: the model and prompts.
        order: all heads, the best first.
        metric: what is measured.
        fractions: shares of the heads, in rising order.

    Returns:
        CPR (the higher the better) and CMD (0 is best).
    """
    sizes = [round(fraction * len(order)) for fraction in fractions]
    values = ablated.values([frozenset(), *(frozenset(order[:n]) for n in sizes)], [metric])[metric]
    share = Share(ablated.full(metric), values[0])
    f = torch.tensor([share.of(v) for v in values[1:]], dtype=torch.float64)
    # Shares that there are: of 16 heads no circuit has 1%.
    x = torch.tensor(sizes, dtype=torch.float64) / len(order)
    return float(torch.trapezoid(f, x)), float(torch.trapezoid((1 - f).abs(), x))
