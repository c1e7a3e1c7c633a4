"""How circuits are found and verified."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

CIRCUIT_METHODS = (
    "path_patching",
    "flap",
    "contrastive",
    "paired",
    "hybrid",
    "app",
    "activation",
    "attribution",
    "attribution_ig",
)


@dataclass
class ThresholdConfig:
    """When a sender is important to a receiver; see `harness.circuits.search.Threshold`.

    Attributes:
        rule: ``sqrt`` or ``linear`` (Accelerated path patching, the released code), ``absolute``, ``top``.
        k: standard deviations above the mean, for inputs of heads.
        k_logits: the same for the logits.
        least: smallest effect that counts, as a share of what corrupting the whole prompt does.
        count: heads a receiver takes, for ``top``.
        z: standard errors by which an effect has to differ from 0 besides.
        zeros: heads that are left out beforehand count as effects of 0 in mean and deviation.
    """

    rule: str = "sqrt"
    k: float = 2.0
    k_logits: float = 2.0
    least: float = 0.01
    count: int = 3
    z: float = 0.0
    zeros: bool = False


@dataclass
class PromptsConfig:
    """The prompts of a circuit task.

    Attributes:
        words: ``literature``, ``lab``, or ``auto``: the lab's words for the lab's tokenizer.
        corruption: how corrupt prompts are made; null for the task's first way.
        file: ready prompts (JSON or JSON lines) in place of generated ones.
        find: prompts that circuits are found on.
        verify: prompts that they are verified on.
        means: prompts whose corrupt twins means are taken over.
        seed: of the draws.
    """

    words: str = "auto"
    corruption: str | None = None
    file: str | None = None
    find: int = 100
    verify: int = 200
    means: int = 400
    seed: int = 0


@dataclass
class CircuitConfig:
    """How one circuit is found and verified.

    Attributes:
        method: one of `CIRCUIT_METHODS`.
        metric: what is measured; null for the task's own.
        prompts: on which prompts.
        threshold: of path patching.
        places: names of positions that path patching tells apart; empty for all positions together.
        most: share of the heads beyond which path patching stops; null for none.
        ablation: what stands in a head's place: ``template``, ``global``, ``zero`` or ``resample``.
        performance: share of the model's metric above the floor that a circuit chosen by sparsity has to keep.
        largest: share of the heads that it may have.
        grid: sparsities of the sweep: first, last and step, in percent.
        steps: gradients that ``attribution_ig`` averages.
        nulls: random circuits of each kind that it is compared with.
        subsets: sets of heads taken out to look for incompleteness.
        batch_tokens: tokens that are computed at a time.
        seed: draws random circuits, sets, and prompts for the intervals.
    """

    method: str = "app"
    metric: str | None = None
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    threshold: ThresholdConfig = field(default_factory=ThresholdConfig)
    places: list[str] = field(default_factory=list)
    most: float | None = None
    ablation: str = "template"
    performance: float = 0.75
    largest: float = 0.5
    grid: list[int] = field(default_factory=lambda: [0, 99, 1])
    steps: int = 5
    nulls: int = 100
    subsets: int = 20
    batch_tokens: int = 16384
    seed: int = 0


def circuit_settings(config: CircuitConfig) -> CircuitConfig:
    """Of a config that holds more, what one circuit depends on."""
    return CircuitConfig(**{f.name: getattr(config, f.name) for f in fields(CircuitConfig)})
