"""Everything that is asked of a crosscoder about one task.

Axes: I items, K latents, M models, S latents of the study set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from harness.config.crosscoder import AnalysisConfig
from harness.crosscoder.attribution import Effects, ablated, effects
from harness.crosscoder.controls import Ablation, ablate, activity
from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.quality import relative_norms
from harness.crosscoder.readings import Readings
from harness.crosscoder.relative import UNCLASSED, Relative, class_names, relative
from harness.statistics import Estimate, mean_interval


@dataclass(frozen=True)
class InModel:
    """The task in one model, and how far effects can be trusted there.

    Attributes:
        name: of the model.
        accuracy: share of the items that are right, with its interval.
        difference: mean D, with its interval.
        latents: summed mean effects of all latents.
        error: mean effect of what the crosscoder misses.
        gap: what both leave unexplained, as a share.
        integrated: Pearson's correlation of integrated gradients with exact effects, over the study set.
        gradient: the same for gradient times activation.
        joint: what D loses when the model's strongest latents are taken out together.
        alone: the sum of what it loses when each of them is taken out alone.
        strongest: those latents.
    """

    name: str
    accuracy: Estimate
    difference: Estimate
    latents: float
    error: float
    gap: float
    integrated: float
    gradient: float
    joint: float
    alone: float
    strongest: tuple[int, ...]


@dataclass(frozen=True)
class Validity:
    """How well the shares of two models' effects, and of their norms, order what ablation measures.

    Spearman's correlation over the study set of |exact effect in the later| / |both| with each.
    """

    begin: str
    end: str
    relative_effect: float
    relative_norm: float
    latents: int


@dataclass(frozen=True)
class Findings:
    """One task.

    Attributes:
        items: what was asked.
        relative: RelIE and classes.
        models: model by model.
        study: union over models of the strongest latents.
        exact_SM: what D loses without each of them alone.
        ablations: class -> taken out together, model by model; classes without latents are left out.
        validity: for each two models.
    """

    items: Items
    relative: Relative
    models: tuple[InModel, ...]
    study: tuple[int, ...]
    exact_SM: Tensor
    ablations: dict[str, list[Ablation]]
    validity: tuple[Validity, ...]


def analyse(
    crosscoder: Crosscoder, lineup: Lineup, items: Items, readings: Readings, config: AnalysisConfig, whole: bool = True
) -> Findings:
    """Looks at one task.

    Args:
        crosscoder: trained.
        lineup: its models.
        items: what is asked.
        readings: of the items' rows.
        config: how closely.
        whole: ablations too; without them only effects and classes.
    """
    count = len(lineup.members)
    found = [effects(crosscoder, lineup, items, readings, m, config.steps, config.least) for m in range(count)]
    told = relative(
        [e.integrated_IK for e in found], items.clusters, lineup.letters, config.floor, config.resamples, config.seed
    )
    strongest = [_top(e, config.top) for e in found]
    study = tuple(sorted({i for top in strongest for i in top}))
    exact_SM = torch.zeros(len(study), count)
    joint = [0.0] * count
    if whole:
        for m, e in enumerate(found):
            d_SI = ablated(crosscoder, lineup, items, readings, m, [*([i] for i in study), strongest[m]])
            lost_S = (e.clean_I - d_SI).mean(dim=1)
            exact_SM[:, m], joint[m] = lost_S[:-1], float(lost_S[-1])
    models = tuple(
        _model(name, e, items, study, exact_SM[:, m], strongest[m], joint[m])
        for m, (name, e) in enumerate(zip(lineup.letters, found, strict=True))
    )
    ablations: dict[str, list[Ablation]] = {}
    if whole:
        active_K = activity(crosscoder, readings)
        clean = [e.clean_I for e in found]
        for name in class_names(lineup.letters):
            chosen = told.of_class(name)[: config.top] if name != UNCLASSED else []
            if chosen:
                ablations[name] = ablate(
                    crosscoder,
                    lineup,
                    items,
                    readings,
                    clean,
                    chosen,
                    active_K,
                    config.controls,
                    config.seed,
                    config.mean,
                )
    return Findings(
        items=items,
        relative=told,
        models=models,
        study=study,
        exact_SM=exact_SM,
        ablations=ablations,
        validity=_validity(lineup.letters, told, relative_norms(crosscoder).detach(), study, exact_SM) if whole else (),
    )


def _top(found: Effects, count: int) -> list[int]:
    size_K = found.integrated_IK.mean(dim=0).abs()
    best = size_K.topk(min(count, len(size_K)))
    return [i for i, size in zip(best.indices.tolist(), best.values.tolist(), strict=True) if size > 0]


def _model(
    name: str,
    found: Effects,
    items: Items,
    study: Sequence[int],
    exact_S: Tensor,
    strongest: Sequence[int],
    joint: float,
) -> InModel:
    integrated_K, gradient_K = found.integrated_IK.mean(dim=0), found.gradient_IK.mean(dim=0)
    index = list(study)
    at = [index.index(i) for i in strongest]
    return InModel(
        name=name,
        accuracy=mean_interval((found.clean_I > 0).float().tolist(), items.clusters),
        difference=mean_interval(found.clean_I.tolist(), items.clusters),
        latents=float(integrated_K.sum()),
        error=float(found.error_I.mean()),
        gap=found.gap,
        integrated=correlation(integrated_K[index], exact_S),
        gradient=correlation(gradient_K[index], exact_S),
        joint=joint,
        alone=float(exact_S[at].sum()),
        strongest=tuple(strongest),
    )


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's; not a number where one of them does not vary."""
    a, b = one.double() - one.double().mean(), other.double() - other.double().mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else math.nan


def _validity(
    names: Sequence[str], found: Relative, norm_KM: Tensor, study: Sequence[int], exact_SM: Tensor
) -> tuple[Validity, ...]:
    index = list(study)
    out = []
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            shares = [_share(t[:, a], t[:, b]) for t in (exact_SM, found.effect_KM[index], norm_KM[index])]
            by_effect, by_norm = (_spearman(shares[0], s) for s in shares[1:])
            out.append(Validity(names[a], names[b], by_effect, by_norm, len(index)))
    return tuple(out)


def _share(a: Tensor, b: Tensor) -> Tensor:
    """The second's share of the sizes of both."""
    return b.abs() / (a.abs() + b.abs()).clamp(min=torch.finfo(a.dtype).tiny)


def _spearman(one: Tensor, other: Tensor) -> float:
    if len(one) < 3 or len(one.unique()) < 2 or len(other.unique()) < 2:
        return math.nan
    return float(stats.spearmanr(one.numpy(), other.numpy()).statistic)
