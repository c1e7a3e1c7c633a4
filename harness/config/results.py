"""Where results go, what they must reach, and who is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ResultsConfig:
    """Where results go.

    Attributes:
        dir: folder of the run; cells that lie there already are not run again.
        patches: folder of what is trained, which runs may share; null for ``patches`` in ``dir``.
        baseline: results folder of an earlier run: resolved losses against it fail this one; null for none.
        margin: loss against it that is allowed, as a share: 0.01 is a point.
    """

    dir: str = "results/run"
    patches: str | None = None
    baseline: str | None = None
    margin: float = 0.0


@dataclass
class LogConfig:
    """Trackers that are told of a run's rows when it is over.

    Attributes:
        to: ``mlflow``, ``wandb``, ``trackio``; empty for none.
        project: experiment or project there.
        uri: where the tracker is, in its own terms; null for its default.
    """

    to: list[str] = field(default_factory=list)
    project: str = "variant-harness"
    uri: str | None = None


@dataclass
class GateConfig:
    """What a cell must reach to pass.

    Attributes:
        min: least score.
        above: variant that it must beat, resolved.
        not_below: variant that it must not fall below by more than ``margin``, resolved.
        margin: what ``not_below`` allows, in score.
        variants: variants it holds for; empty for all but the one it compares with.
    """

    min: float | None = None
    above: str | None = None
    not_below: str | None = None
    margin: float = 0.0
    variants: list[str] = field(default_factory=list)
