"""What becomes of latents from one model to the next: they emerge, stay or are lost.

A latent is at work in a model that has at least a share of 0.3 of its effects (RelIE), the bound of the paper's
classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.crosscoder.relative import UNCLASSED, Relative, shared_from


@dataclass(frozen=True)
class Step:
    """From one model to the next, in latents and in effect.

    Attributes:
        begin: name of the earlier model.
        end: name of the later one.
        emerged: latents at work in the later alone, of the two.
        stayed: in both.
        lost: in the earlier alone.
        emerged_effect: summed size of their effects in the later model.
        stayed_effect: the same for those that stayed, in the later model.
        lost_effect: summed size in the earlier model.
    """

    begin: str
    end: str
    emerged: int
    stayed: int
    lost: int
    emerged_effect: float
    stayed_effect: float
    lost_effect: float


def at_work(found: Relative) -> list[tuple[int, ...]]:
    """For each classed latent, the models it is at work in; the others have none."""
    bound = shared_from(found.share_KM.shape[1])
    return [
        tuple(m for m, share in enumerate(shares) if share >= bound) if name != UNCLASSED else ()
        for shares, name in zip(found.share_KM.tolist(), found.classes, strict=True)
    ]


def flow(found: Relative, names: Sequence[str]) -> list[Step]:
    """The steps from each model to the next."""
    where = at_work(found)
    size_KM = found.effect_KM.abs()
    out = []
    for a in range(len(names) - 1):
        b = a + 1
        emerged = [i for i, models in enumerate(where) if b in models and a not in models]
        stayed = [i for i, models in enumerate(where) if b in models and a in models]
        lost = [i for i, models in enumerate(where) if a in models and b not in models]
        effects = [float(size_KM[chosen, m].sum()) for chosen, m in ((emerged, b), (stayed, b), (lost, a))]
        out.append(Step(names[a], names[b], len(emerged), len(stayed), len(lost), *effects))
    return out
