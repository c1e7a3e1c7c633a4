"""Does a class of latents matter as its effects say? Taken out together, against latents as active as they.

Bayazit et al. 2025, section 5. A drawn control that happens to hold the strongest latent of all says nothing about the
class, nor does one that never fires: controls are live latents, each drawn from those nearest in activity to the latent
that it stands for, none of them in the set itself.

Axes: S draws, I items, K latents, M models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.crosscoder.attribution import ablated
from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.readings import Readings
from harness.statistics import Estimate, mean_interval

NEAR = 8  # candidates for each latent of the set


@dataclass(frozen=True)
class Ablation:
    """One set of latents taken out of one model.

    Attributes:
        model: its name.
        latents: what was taken out.
        loss: mean of D(as it is) - D(without them), with its 95% interval over items.
        accuracy: share of the items that are right without them.
        before: share that is right as it is.
        control_losses: the same loss for each control.
        control_accuracies: and the accuracies.
    """

    model: str
    latents: tuple[int, ...]
    loss: Estimate
    accuracy: Estimate
    before: float
    control_losses: tuple[float, ...]
    control_accuracies: tuple[float, ...]

    @property
    def p(self) -> float:
        """Share of the controls whose loss is at least as far from 0, the set itself counted among them.

        Not a number where no control could be drawn.
        """
        if not self.control_losses:
            return math.nan
        far = sum(abs(loss) >= abs(self.loss.value) for loss in self.control_losses)
        return (far + 1) / (len(self.control_losses) + 1)


def matched(activity_K: Tensor, chosen: Sequence[int], draws: int, seed: int) -> list[list[int]]:
    """Sets as large and as active as ``chosen``, of other latents.

    Args:
        activity_K: summed value times norm of each latent over the task's tokens; 0 for one that is never on.
        chosen: the set.
        draws: sets that are drawn.
        seed: draws them.

    Returns:
        Fewer latents than in ``chosen`` where there are not as many others that are on.
    """
    rng = np.random.default_rng(seed)
    inside = set(chosen)
    others = [i for i in torch.nonzero(activity_K > 0)[:, 0].tolist() if i not in inside]
    level = {i: float(activity_K[i].log()) for i in others}
    out = []
    for _ in range(draws):
        free = set(others)
        drawn: list[int] = []
        for i in rng.permutation(list(chosen)).tolist():
            if not free:
                break
            target = float(activity_K[i].clamp(min=torch.finfo(activity_K.dtype).tiny).log())
            near = sorted(free, key=lambda j: (abs(level[j] - target), j))[:NEAR]
            drawn.append(near[int(rng.integers(len(near)))])
            free.discard(drawn[-1])
        out.append(sorted(drawn))
    return out


def ablate(
    crosscoder: Crosscoder,
    lineup: Lineup,
    items: Items,
    readings: Readings,
    clean_MI: Sequence[Tensor],
    chosen: Sequence[int],
    activity_K: Tensor,
    draws: int,
    seed: int,
    mean: bool = False,
) -> list[Ablation]:
    """Takes a set of latents out of every model, and its controls.

    Args:
        crosscoder: trained.
        lineup: its models.
        items: what is asked.
        readings: of the items' rows.
        clean_MI: D of each model as it is.
        chosen: the set.
        activity_K: see `matched`.
        draws: controls.
        seed: draws them.
        mean: put means in their places, not zeros.
    """
    drawn = matched(activity_K, chosen, draws, seed)
    # A control of fewer latents would make any set look strong.
    sets = [list(chosen), *(control for control in drawn if len(control) == len(chosen))]
    out = []
    for m, name in enumerate(lineup.letters):
        d_SI = ablated(crosscoder, lineup, items, readings, m, sets, mean)
        loss_SI = clean_MI[m] - d_SI
        right_SI = (d_SI > 0).float()
        out.append(
            Ablation(
                model=name,
                latents=tuple(chosen),
                loss=mean_interval(loss_SI[0].tolist(), items.clusters),
                accuracy=mean_interval(right_SI[0].tolist(), items.clusters),
                before=float((clean_MI[m] > 0).float().mean()),
                control_losses=tuple(loss_SI[1:].mean(dim=1).tolist()),
                control_accuracies=tuple(right_SI[1:].mean(dim=1).tolist()),
            )
        )
    return out


def activity(crosscoder: Crosscoder, readings: Readings) -> Tensor:
    """Summed value times norm of each latent over some tokens, ``[K]``."""
    device = crosscoder.bias_K.device
    total_K = torch.zeros(crosscoder.shape.latents)
    with torch.no_grad():
        for part in readings.x_NMD.split(4096):
            total_K += crosscoder.encode(part.to(device)).sum(dim=0).cpu()
    return total_K * crosscoder.norms_KM.detach().sum(dim=1).cpu()
