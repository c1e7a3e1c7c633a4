"""Which checkpoints of a training to compare: where the task is learned, and where the representation changes.

Bayazit et al. 2025, section 4: the paper looks at accuracy over checkpoints and at how alike mid-layer activations of
each two are, and picks three or four by eye. The rule here is one that can be stated: the last checkpoint before
accuracy rises most, the first that has come 90% of the way from there to the best of those behind it, and the last.
Where the second is the last, the one between that is least like both others takes its place.

Axes: C checkpoints, N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.crosscoder.attribution import differences
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup, Member
from harness.crosscoder.readings import read_batches
from harness.statistics import Estimate, mean_interval

ARRIVED = 0.9
MEASURES = ("cka", "cosine")


@dataclass(frozen=True)
class Course:
    """A training, checkpoint by checkpoint.

    Attributes:
        names: of the checkpoints, in order.
        accuracy: for each group of items, the share that each checkpoint gets right, with its 95% interval.
        items: items of each group.
        likeness: measure -> ``[C, C]``, how alike activations of the task's prefixes are.
        layer: where they were read.
    """

    names: tuple[str, ...]
    accuracy: Mapping[str, tuple[Estimate, ...]]
    items: Mapping[str, int]
    likeness: Mapping[str, Tensor]
    layer: int

    @property
    def mean_accuracy(self) -> list[float]:
        """Mean over the groups, each counting alike."""
        columns = [[cell.value for cell in row] for row in self.accuracy.values()]
        return [sum(values) / len(values) for values in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Choice:
    """Three checkpoints and why.

    Attributes:
        indices: places in the course.
        why: a sentence.
    """

    indices: tuple[int, int, int]
    why: str


def course(
    members: Sequence[Member], layer: int | None, items: Items, batch_tokens: int, tokens: int, seed: int
) -> Course:
    """Looks at every checkpoint; one is in memory at a time if its member loads it anew.

    Args:
        members: the checkpoints, in order.
        layer: whose output is compared.
        items: of the task.
        batch_tokens: tokens that a model reads at a time.
        tokens: of the task's prefixes that are compared; drawn.
        seed: draws them.
    """
    total = int(items.rows.kept_RT.sum())
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(total, generator=generator)[:tokens].sort().values
    groups = list(dict.fromkeys(items.groups))
    belongs = {g: torch.tensor([group == g for group in items.groups]) for g in groups}
    accuracy: dict[str, list[Estimate]] = {g: [] for g in groups}
    activations: list[Tensor] = []
    at = layer
    for member in members:
        alone = Lineup([member], layer)
        at = alone.layer
        right_I = differences(alone, items, 0, batch_tokens) > 0
        for g in groups:
            clusters = [c for c, group in zip(items.clusters, items.groups, strict=True) if group == g]
            accuracy[g].append(mean_interval(right_I[belongs[g]].float().tolist(), clusters))
        with alone.open(0) as reader:
            activations.append(torch.cat(list(read_batches(reader, items.rows, batch_tokens)))[drawn])
    assert at is not None
    return Course(
        names=tuple(m.name for m in members),
        accuracy={g: tuple(cells) for g, cells in accuracy.items()},
        items={g: int(belongs[g].sum()) for g in groups},
        likeness={"cosine": _pairs(activations, mean_cosine), "cka": _pairs(activations, cka)},
        layer=at,
    )


def choose(found: Course, measure: str = "cka") -> Choice:
    """Three checkpoints by the rule above.

    Raises:
        ValueError: for fewer than three checkpoints.
    """
    names, accuracy = found.names, found.mean_accuracy
    count = len(names)
    if count < 3:
        raise ValueError(f"a triplet needs three checkpoints, there are {count}: {', '.join(names)}")
    # The last but one cannot be the first of three.
    first = max(range(count - 2), key=lambda i: accuracy[i + 1] - accuracy[i])
    gain = max(accuracy[first + 1 :]) - accuracy[first]
    why = (
        f"{names[first]}: last before the mean accuracy rises most ({accuracy[first]:.1%} to "
        f"{accuracy[first + 1]:.1%}); "
    )
    second = count - 1  # where accuracy never rises nothing arrives
    if gain > 0:
        second = next(i for i in range(first + 1, count) if accuracy[i] >= accuracy[first] + ARRIVED * gain)
    if second < count - 1:
        why += f"{names[second]}: first that has come {ARRIVED:.0%} of the way ({accuracy[second]:.1%}); "
    else:
        like = found.likeness[measure]
        second = min(range(first + 1, count - 1), key=lambda i: float(max(like[first, i], like[i, count - 1])))
        near = max(float(like[first, second]), float(like[second, count - 1]))
        why += f"{names[second]}: of those between the least like the other two ({measure} at most {near:.2f}); "
    return Choice((first, second, count - 1), why + f"{names[-1]}: the last ({accuracy[-1]:.1%})")


def cka(one_ND: Tensor, other_ND: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019): 1 for activations alike up to rotation and scale."""
    a, b = (x.double() - x.double().mean(dim=0) for x in (one_ND, other_ND))
    return float((a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm()))


def mean_cosine(one_ND: Tensor, other_ND: Tensor) -> float:
    """Cosine of the same token's activations, mean over tokens."""
    return float(F.cosine_similarity(one_ND.double(), other_ND.double(), dim=1).mean())


def _pairs(activations: Sequence[Tensor], measure: object) -> Tensor:
    assert callable(measure)
    out = torch.eye(len(activations))
    for i, a in enumerate(activations):
        for j in range(i):
            out[i, j] = out[j, i] = measure(a, activations[j])
    return out
