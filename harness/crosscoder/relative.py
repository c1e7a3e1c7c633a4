"""Which models a latent's effect belongs to: RelIE, its uncertainty, and classes.

Bayazit et al. 2025, section 3. With A_m = |mean over items of IE in model m|,

    RelIE = A / sum(A)

for pairs and triplets alike; a latent is specific to a model whose share is above 0.7, shared by those whose shares are
0.3 or more, else other. For a pair RelIE is often told as the second's share alone.

Both the sign and the size are gone from RelIE, and a latent without effect has the RelIE of noise. So effects keep
their signs beside it, and a latent is classed only if its effect somewhere is resolved from 0 and as large as a floor.

Axes: I items, K latents, M models, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

SPECIFIC, SHARED = 0.7, 0.3
OTHER, UNCLASSED = "other", "unclassed"


@dataclass(frozen=True)
class Relative:
    """RelIE of every latent.

    Attributes:
        effect_KM: mean effect, with its sign.
        low_KM: lower end of its 95% interval.
        high_KM: upper end.
        share_KM: RelIE; rows sum to 1, and are 1/M where there is no effect at all.
        share_low_KM: lower end of its 95% interval.
        share_high_KM: upper end.
        classes: class of each latent; see `class_of`.
        certainty_K: share of the resamples that give the same class.
        floor: smallest effect that is classed.
    """

    effect_KM: Tensor
    low_KM: Tensor
    high_KM: Tensor
    share_KM: Tensor
    share_low_KM: Tensor
    share_high_KM: Tensor
    classes: tuple[str, ...]
    certainty_K: Tensor
    floor: float

    def of_class(self, name: str) -> list[int]:
        """The latents of a class, those of the largest effect anywhere first."""
        strength = self.effect_KM.abs().amax(dim=1)
        chosen = [i for i, c in enumerate(self.classes) if c == name]
        return sorted(chosen, key=lambda i: -float(strength[i]))


def shares(effect_KM: Tensor) -> Tensor:
    """RelIE of mean effects; 1/M each where all are 0."""
    size = effect_KM.abs()
    total = size.sum(dim=-1, keepdim=True)
    even = torch.full_like(size, 1 / size.shape[-1])
    return torch.where(total > 0, size / total.clamp(min=torch.finfo(size.dtype).tiny), even)


def pairwise(share_KM: Tensor) -> dict[tuple[int, int], Tensor]:
    """For each two models the later one's share of both, ``[K]``; the paper's pairwise RelIE."""
    m = share_KM.shape[1]
    return {(a, b): shares(share_KM[:, [a, b]])[:, 1] for a in range(m) for b in range(a + 1, m)}


def class_of(share_M: Sequence[float], names: Sequence[str]) -> str:
    """The class of one latent: the model it is specific to, those that share it, or other.

    The bands are the paper's for triplets, in its order. For pairs they cover everything; for three, [.6, .2, .2] is
    other. Of more than three models none could have 0.3 of what all share: the bound is nine tenths of an even share
    there, as 0.3 is for three.
    """
    for share, name in zip(share_M, names, strict=True):
        if share > SPECIFIC:
            return name
    bound = shared_from(len(names))
    sharing = [name for share, name in zip(share_M, names, strict=True) if share >= bound]
    return "-".join(sharing) if len(sharing) > 1 else OTHER


def class_names(names: Sequence[str]) -> list[str]:
    """All classes in the order of tables: specific ones, shared ones, other, unclassed."""
    shared = ["-".join(some) for size in range(2, len(names) + 1) for some in combinations(names, size)]
    return [*names, *shared, OTHER, UNCLASSED]


def shared_from(models: int) -> float:
    """Share of its effects from which on a latent is at work in one of so many models."""
    return SHARED if models <= 3 else 0.9 / models


def relative(
    effect_IKM: Sequence[Tensor],
    clusters: Sequence[int],
    names: Sequence[str],
    floor: float,
    resamples: int,
    seed: int,
    chosen: Sequence[int] | None = None,
) -> Relative:
    """RelIE with intervals by a bootstrap over items, whole clusters at a time.

    Args:
        effect_IKM: effects in each model, item by item, ``[M][I, K]``.
        clusters: cluster of each item.
        names: of the models.
        floor: smallest mean effect somewhere of a latent that is classed, as a share of the largest of any latent.
        resamples: of the bootstrap.
        seed: draws them.
        chosen: latents whose intervals are wanted; None for all. Others are unclassed.
    """
    mean_KM = torch.stack([e.mean(dim=0) for e in effect_IKM], dim=1)
    latents = len(mean_KM)
    index = torch.arange(latents) if chosen is None else torch.tensor(sorted(chosen), dtype=torch.long)
    drawn_RJM = _resampled([e[:, index] for e in effect_IKM], clusters, resamples, seed)
    low_JM, high_JM = _ends(drawn_RJM)
    share_RJM = shares(drawn_RJM)
    share_low_JM, share_high_JM = _ends(share_RJM)
    share_KM = shares(mean_KM)
    least = floor * float(mean_KM.abs().max()) if latents else 0.0
    classes = [UNCLASSED] * latents
    certainty = torch.zeros(latents)
    for j, i in enumerate(index.tolist()):
        resolved = ((low_JM[j] > 0) | (high_JM[j] < 0)) & (mean_KM[i].abs() >= max(least, 1e-12))
        if bool(resolved.any()):
            classes[i] = class_of(share_KM[i].tolist(), names)
            same = sum(class_of(row, names) == classes[i] for row in share_RJM[:, j].tolist())
            certainty[i] = same / resamples

    def spread(values_JM: Tensor, rest: Tensor) -> Tensor:
        out = rest.clone()
        out[index] = values_JM
        return out

    return Relative(
        effect_KM=mean_KM,
        low_KM=spread(low_JM, mean_KM),
        high_KM=spread(high_JM, mean_KM),
        share_KM=share_KM,
        share_low_KM=spread(share_low_JM, share_KM),
        share_high_KM=spread(share_high_JM, share_KM),
        classes=tuple(classes),
        certainty_K=certainty,
        floor=least,
    )


def _ends(drawn_RJM: Tensor) -> tuple[Tensor, Tensor]:
    """Ends of the 95% intervals; some latents at a time, as torch's quantile takes no more than 16 million values."""
    edges = torch.tensor([0.025, 0.975])
    parts = [torch.quantile(part, edges, dim=0) for part in drawn_RJM.split(512, dim=1)]
    low, high = torch.cat(parts, dim=1)
    return low, high


def _resampled(effect_IJM: Sequence[Tensor], clusters: Sequence[int], resamples: int, seed: int) -> Tensor:
    """Mean effects under resampled clusters, ``[R, J, M]``."""
    count = max(clusters) + 1
    numbers = torch.tensor(clusters)
    size_C = torch.bincount(numbers, minlength=count).float()
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    weight_RC = torch.from_numpy(drawn).float()
    items_R = (weight_RC @ size_C).clamp(min=1)[:, None]
    out = []
    for effect_IJ in effect_IJM:
        sum_CJ = torch.zeros(count, effect_IJ.shape[1]).index_add_(0, numbers, effect_IJ)
        out.append((weight_RC @ sum_CJ) / items_R)
    return torch.stack(out, dim=2)
