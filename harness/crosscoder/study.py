"""Several models through one crosscoder: trained, looked at, taken apart, and written as a page.

python -m harness.crosscoder.study checkpoints=[NAME,NAME,NAME,...] [models=[A,B,C]] [KEY=VALUE ...]

A model is a name, a folder, a hub id, or a hub id with a revision (owner/name@step1000). Without ``models`` three of
the ``checkpoints`` are chosen by rule. Keys:
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config.crosscoder import (
    AnalysisConfig,
    BufferConfig,
    CrosscoderConfig,
    PairsConfig,
    StudyConfig,
    TextConfig,
    TrainingConfig,
)
from harness.config.typed import typed_overrides
from harness.crosscoder.asked import check_tasks, items_of, skips_first
from harness.crosscoder.choose import MEASURES, Course, choose, course
from harness.crosscoder.items import Items
from harness.crosscoder.lineup import Lineup, Member
from harness.crosscoder.members import members
from harness.crosscoder.schedule import Schedule
from harness.crosscoder.stages import Study
from harness.crosscoder.tokens import texts_of
from harness.crosscoder.write import write
from harness.loading import check_place

logger = logging.getLogger(__name__)


def study(
    config: StudyConfig, say: Callable[[str], None] = logger.info, variants: Sequence[Member] | None = None
) -> Path:
    """Does a whole study and writes it.

    Args:
        config: settings.
        say: is told what goes on, line by line.
        variants: the models, where they are variants of one base; else they are loaded by name.

    Returns:
        The page.

    Raises:
        ValueError: for settings, models, text or tasks that do not fit.
    """
    check(config, variants is not None)
    check_tasks(config.pairs.tasks)
    found = choice = None
    chosen = variants
    if config.checkpoints:
        # One at a time: a training may have dozens.
        found = _course(config, members(config.checkpoints, config.device, config.dtype, resident=False))
        say(
            "accuracy over checkpoints: "
            + ", ".join(f"{n} {a:.1%}" for n, a in zip(found.names, found.mean_accuracy, strict=True))
        )
        if not config.models:
            choice = choose(found, config.measure)
            say(f"chosen: {choice.why}")
    if chosen is None:
        names = [config.checkpoints[i] for i in choice.indices] if choice is not None else config.models
        chosen = members(names, config.device, config.dtype, config.resident)
    results = Study(config, Lineup(chosen, config.layer), found, choice, say).run()
    return write(results, Path(config.out))


def check(config: StudyConfig, variants: bool = False) -> None:
    """Checks settings before anything is loaded.

    Raises:
        ValueError: for settings that cannot be.
    """
    if not variants and not config.models and not config.checkpoints:
        raise ValueError("no models: give models=[A,B,C], or checkpoints=[...] to have three of them chosen")
    if not variants and not config.models and len(config.checkpoints) < 3:
        raise ValueError(
            f"three of checkpoints={config.checkpoints} are chosen, so give at least three, or models=[...]"
        )
    if config.measure not in MEASURES:
        raise ValueError(f"measure={config.measure!r}: expected {' or '.join(MEASURES)}")
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ValueError(f"seeds={config.seeds}: expected one or more, each once")
    if not config.pairs.tasks:
        raise ValueError("pairs.tasks is empty: expected lab:agreement, a file or a folder of minimal pairs")
    analysis = config.analysis
    for name, least in (
        ("held_out", 1),
        ("steps", 1),
        ("resamples", 100),
        ("top", 1),
        ("controls", 1),
        ("contexts", 0),
    ):
        if getattr(analysis, name) < least:
            raise ValueError(f"analysis.{name}={getattr(analysis, name)}: expected at least {least}")
    if not 0 <= analysis.floor < 1 or analysis.least < 0:
        raise ValueError(
            f"analysis: floor={analysis.floor:g} is a share from 0 to 1, least={analysis.least:g} at least 0"
        )
    check_place(config.dtype, config.device)
    if odd := next(_not_finite(asdict(config)), None):
        raise ValueError(f"{odd}: expected a number")
    for name, value, least in (
        ("analysis.seed", analysis.seed, 0),
        ("pairs.seed", config.pairs.seed, 0),
        ("pairs.most", 1 if config.pairs.most is None else config.pairs.most, 1),
        ("buffer.batch_tokens", config.buffer.batch_tokens, 1),
        ("buffer.megabytes", config.buffer.megabytes, 1),
        ("seeds", min(config.seeds), 0),
    ):
        if value < least:
            raise ValueError(f"{name}={value}: expected at least {least}")
    if config.text.length < 2:
        raise ValueError(f"text.length={config.text.length}: a row has at least 2 tokens")
    Schedule.of(config.training)
    texts_of(config.text)


def _not_finite(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Settings that are no numbers."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _not_finite(value, f"{above}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{above}{key}={value}"


def _course(config: StudyConfig, every: Sequence[Member]) -> Course:
    """Accuracy over the checkpoints on all tasks, each group of items a column."""
    tokenizer = every[0].load().tokenizer
    first = skips_first(config.text.skip_first, tokenizer)
    asked: list[Items] = [items_of(task, config.pairs, tokenizer, first) for task in config.pairs.tasks]
    held_out = config.analysis.held_out
    parts = [
        course(every, config.layer, items, config.buffer.batch_tokens, held_out, config.analysis.seed)
        for items in asked
    ]
    if len(parts) == 1:
        return parts[0]
    tasks = config.pairs.tasks
    accuracy = {f"{t} {g}": cells for t, part in zip(tasks, parts, strict=True) for g, cells in part.accuracy.items()}
    counts = {f"{t} {g}": n for t, part in zip(tasks, parts, strict=True) for g, n in part.items.items()}
    likeness = {k: sum(part.likeness[k] for part in parts) / len(parts) for k in MEASURES}
    return Course(parts[0].names, accuracy, counts, likeness, parts[0].layer)  # type: ignore[arg-type] # a sum of tensors


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        kinds = (StudyConfig, CrosscoderConfig, TextConfig, BufferConfig, TrainingConfig, PairsConfig, AnalysisConfig)
        print("\n".join([__doc__ or "", *(f"{kind.__name__}: {kind.__doc__}" for kind in kinds)]))
        return 0
    try:
        page = study(typed_overrides(StudyConfig, given), print)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
