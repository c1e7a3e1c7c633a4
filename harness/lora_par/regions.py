"""Regions of a LoRA: the elements that matter to one system, to the other, and to both (LoRA-PAR, step 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Masks = dict[str, Tensor]


def cut(scores: Mapping[str, Tensor], theta: float) -> Masks:
    """The fewest elements, of all parameters together, that hold a share of the whole importance.

    Equal scores are taken in the order of the parameters, and of the elements in them.

    Args:
        scores: name -> scores, none negative.
        theta: share, above 0 and up to 1; at 1 whatever scores above 0 is taken.

    Returns:
        Name -> what is taken, of the scores' shape.

    Raises:
        ValueError: for another theta.
    """
    if not 0 < theta <= 1:
        raise ValueError(f"theta {theta}: a share above 0 and up to 1")
    flat = torch.cat([s.flatten() for s in scores.values()]).double()
    assert bool((flat >= 0).all()), "a score is negative"
    order = flat.argsort(descending=True, stable=True)
    held = flat[order].cumsum(0)
    wanted = theta * float(held[-1])
    # Where rounding keeps the sum below its share, all that scores is taken.
    count = min(int((held < wanted).sum()) + 1, int((flat > 0).sum()))
    return _parted(order[:count], scores)


def _parted(places: Tensor, like: Mapping[str, Tensor]) -> Masks:
    """A mask for each parameter from places in all of them together."""
    taken = torch.zeros(sum(t.numel() for t in like.values()), dtype=torch.bool)
    taken[places] = True
    parts = taken.split([t.numel() for t in like.values()])
    return {name: part.view(tensor.shape) for (name, tensor), part in zip(like.items(), parts, strict=True)}


def count(masks: Mapping[str, Tensor]) -> int:
    """Elements that are taken."""
    return sum(int(mask.sum()) for mask in masks.values())


@dataclass(frozen=True)
class Regions:
    """What matters to each system.

    Attributes:
        scores1: name -> importance to System 1.
        scores2: name -> importance to System 2.
        system1: name -> elements of System 1.
        system2: name -> elements of System 2.
    """

    scores1: dict[str, Tensor]
    scores2: dict[str, Tensor]
    system1: Masks
    system2: Masks

    @classmethod
    def of(cls, scores1: Mapping[str, Tensor], scores2: Mapping[str, Tensor], theta: float) -> Regions:
        """Both systems' elements at one theta."""
        assert list(scores1) == list(scores2), "the systems were scored on other parameters"
        return cls(dict(scores1), dict(scores2), cut(scores1, theta), cut(scores2, theta))

    @property
    def shared(self) -> Masks:
        """Elements of both."""
        return {name: mask & self.system2[name] for name, mask in self.system1.items()}

    def active(self, system: str, share: float) -> Masks:
        """What a stage trains: the system's own elements, and a share of those of both, by its own importance.

        Args:
            system: ``system1`` or ``system2``.
            share: of the shared elements, 0 to 1, rounded down.

        Raises:
            ValueError: for another share, or if nothing is left to train.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"share {share} of the shared elements: a number from 0 to 1")
        first = system == "system1"
        own, scores = (self.system1, self.scores1) if first else (self.system2, self.scores2)
        shared = self.shared
        wanted = math.floor(share * count(shared))
        flat = torch.cat([s.flatten() for s in scores.values()]).double()
        among = torch.cat([m.flatten() for m in shared.values()])
        order = flat.masked_fill(~among, -1).argsort(descending=True, stable=True)
        chosen = _parted(order[:wanted], scores)
        out = {name: (mask & ~shared[name]) | chosen[name] for name, mask in own.items()}
        if not count(out):
            raise ValueError(
                f"{system} has no element of its own, and {share} of the shared ones are none: nothing is trained"
            )
        return out

    def figures(self) -> dict[str, float]:
        """The paper's region statistics: sizes, and shares of each system that it does not share."""
        one, two, both = count(self.system1), count(self.system2), count(self.shared)
        return overlap(one, two, both) | {"elements": sum(m.numel() for m in self.system1.values())}


def overlap(one: int, two: int, both: int) -> dict[str, float]:
    """Sizes of two sets, the share of each that the other lacks, and Jaccard's index."""
    return {
        "system1": one,
        "system2": two,
        "shared": both,
        "system1_only": (one - both) / one,
        "system2_only": (two - both) / two,
        "jaccard": both / (one + two - both),
    }


def at_random(like: Mapping[str, Tensor], count: int, seed: int) -> Masks:
    """As many elements of all parameters together, drawn."""
    total = sum(t.numel() for t in like.values())
    generator = torch.Generator().manual_seed(seed)
    return _parted(torch.randperm(total, generator=generator)[:count], like)
