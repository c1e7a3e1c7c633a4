"""Whether settings of a circuit can be, told before any model is loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from harness.circuits.ablation import ABLATIONS
from harness.circuits.metrics import METRICS as METRIC_NAMES
from harness.circuits.search import Threshold
from harness.config.circuits import CIRCUIT_METHODS, CircuitConfig, PromptsConfig

# Their value at the clean prompts does not move with a small change of a head.
_WITHOUT_SLOPE = ("accuracy", "top1", "kl")


def check_settings(config: CircuitConfig, methods: Sequence[str] | None = None) -> None:
    """Checks names and ranges.

    Args:
        config: the settings.
        methods: ways of finding that will be taken; None for that of the config.

    Raises:
        ValueError: for settings that cannot be.
    """
    methods = [config.method] if methods is None else methods
    names: list[tuple[str, str, Iterable[str]]] = [("circuit method", name, CIRCUIT_METHODS) for name in methods]
    names.append(("ablation", config.ablation, ABLATIONS))
    if config.metric is not None:
        names.append(("metric", config.metric, METRIC_NAMES))
    for kind, name, known in names:
        if name not in known:
            raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
    for name in methods:
        check_slope(name, config.metric)
    threshold = asdict(config.threshold)
    if odd := [key for key, value in threshold.items() if isinstance(value, float) and not math.isfinite(value)]:
        raise ValueError(f"threshold.{odd[0]}={threshold[odd[0]]}: expected a number")
    Threshold(**threshold)
    grid = config.grid
    if len(grid) != 3 or not 0 <= grid[0] <= grid[1] <= 100 or not 1 <= grid[2] <= 100:
        raise ValueError(f"grid {grid}: expected first, last and step in percent, such as [0,99,1]")
    for name, least in (("nulls", 0), ("subsets", 0), ("batch_tokens", 1), ("steps", 1), ("seed", 0)):
        if getattr(config, name) < least:
            raise ValueError(f"{name} {getattr(config, name)}: at least {least}")
    for name in ("performance", "largest", "most"):
        if (share := getattr(config, name)) is not None and not 0 < share <= 1:
            raise ValueError(f"{name} {share:g}: expected a share above 0 and up to 1")
    check_prompts(config.prompts)


def check_slope(method: str, metric: str | None) -> None:
    """Raises a ValueError for attribution by a metric without a slope."""
    if method in ("attribution", "attribution_ig") and metric in _WITHOUT_SLOPE:
        raise ValueError(f"attribution: metric {metric} has no slope at the clean prompts; take logit_diff")


def check_prompts(prompts: PromptsConfig) -> None:
    """Raises a ValueError for sets that are too small, or settings of drawn prompts beside a file."""
    sizes = prompts.find, prompts.verify, prompts.means
    if min(sizes) < 2:
        raise ValueError(f"prompts: each set needs two prompts at least; asked: find, verify, means = {sizes}")
    if prompts.seed < 0:
        raise ValueError(f"prompts.seed {prompts.seed}: at least 0")
    if prompts.file is not None and prompts.corruption is not None:
        raise ValueError(
            f"prompts.corruption={prompts.corruption} is of prompts that are drawn; those of {prompts.file} have theirs"
        )
