"""The cross-entropy method over mixing weights (Transformer-Squared, section 3.2, C).

Weights lie in [0, 1], and only their ratios count: a mixture is sum_k alpha_k z_k with the alpha of each group divided
by their sum. A group whose weights are all 0 is no mixture, so it is never proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

REDRAWS = 100


@dataclass(frozen=True)
class Value:
    """What a mixture is worth: a score, and a likelihood that decides between equal scores."""

    score: float
    likelihood: float = 0.0

    def __lt__(self, other: Value) -> bool:
        return (self.score, self.likelihood) < (other.score, other.likelihood)


@dataclass(frozen=True)
class Iterate:
    """One iteration.

    Attributes:
        weights_GK: the mean of its elites, normalised; of iteration 0, equal weights.
        best: the best value among its mixtures, on the shots.
        held_back: value of ``weights_GK`` on the documents that were held back.
    """

    weights_GK: Tensor
    best: Value
    held_back: Value


@dataclass(frozen=True)
class SearchSettings:
    """How to search.

    Attributes:
        population: mixtures of an iteration, the best one so far among them.
        elite: share of them that the next iteration is drawn around.
        iterations: iterations.
        std: standard deviation of the first draw.
        seed: of the draws.
    """

    population: int
    elite: float
    iterations: int
    std: float
    seed: int

    def __post_init__(self) -> None:
        if self.population < 2 or self.iterations < 1 or self.std <= 0 or not 0 < self.elite <= 1:
            raise ValueError(
                f"population {self.population}, iterations {self.iterations}, std {self.std}, elite {self.elite}: "
                "expected at least 2, at least 1, above 0, and a share above 0"
            )

    @property
    def elites(self) -> int:
        """How many are kept."""
        return max(1, int(self.elite * self.population))


def normalised(weights_GK: Tensor) -> Tensor:
    """Weights of each group divided by their sum."""
    return weights_GK / weights_GK.sum(-1, keepdim=True)


def search(
    groups: int,
    experts: int,
    value: Callable[[Tensor], Value],
    held_back: Callable[[Tensor], Value],
    settings: SearchSettings,
    after: Callable[[int, Iterate], None] = lambda number, iterate: None,
) -> tuple[Iterate, list[Iterate]]:
    """Searches for the mixture of the highest value.

    Args:
        groups: groups of weights that are mixed each in its own way.
        experts: what is mixed.
        value: value of normalised weights on the shots.
        held_back: the same on other documents; it decides which iterate is taken, the first among equals.
        settings: how.
        after: called after each iteration.

    Returns:
        The chosen iterate, and all of them.
    """
    value, held_back = _once(value), _once(held_back)
    rng = torch.Generator().manual_seed(settings.seed)
    mean_GK = torch.full((groups, experts), 1 / experts, dtype=torch.float64)
    std_GK = torch.full_like(mean_GK, settings.std)
    best_GK, best = mean_GK, value(normalised(mean_GK))
    iterates = [Iterate(normalised(mean_GK), best, held_back(normalised(mean_GK)))]
    for number in range(1, settings.iterations + 1):
        drawn = [best_GK, *(_draw(mean_GK, std_GK, rng) for _ in range(settings.population - 1))]
        values = [best, *(value(normalised(candidate)) for candidate in drawn[1:])]
        order = sorted(range(len(drawn)), key=lambda i: values[i], reverse=True)
        best_GK, best = drawn[order[0]], values[order[0]]
        elites_EGK = torch.stack([drawn[i] for i in order[: settings.elites]])
        mean_GK, std_GK = elites_EGK.mean(0), elites_EGK.std(0, correction=0)
        iterates.append(Iterate(normalised(mean_GK), best, held_back(normalised(mean_GK))))
        after(number, iterates[-1])
    chosen = iterates[0]
    for iterate in iterates[1:]:
        if chosen.held_back < iterate.held_back:
            chosen = iterate
    return chosen, iterates


def _once(value: Callable[[Tensor], Value]) -> Callable[[Tensor], Value]:
    """The same mixture comes again and again once the draws have narrowed."""
    known: dict[bytes, Value] = {}

    def valued(weights_GK: Tensor) -> Value:
        key = weights_GK.numpy().tobytes()
        if key not in known:
            known[key] = value(weights_GK)
        return known[key]

    return valued


def _draw(mean_GK: Tensor, std_GK: Tensor, rng: torch.Generator) -> Tensor:
    """A clamped normal draw; groups without any weight are drawn again."""
    out_GK = torch.zeros_like(mean_GK)
    for _ in range(REDRAWS):
        empty_G = out_GK.sum(-1) == 0
        if not empty_G.any():
            return out_GK
        noise_GK = torch.randn(mean_GK.shape, generator=rng, dtype=mean_GK.dtype)
        out_GK = torch.where(empty_G[:, None], (mean_GK + std_GK * noise_GK).clamp(0, 1), out_GK)
    empty_G = out_GK.sum(-1) == 0  # the mean is a mean of mixtures, so it is one
    return torch.where(empty_G[:, None], mean_GK, out_GK)
