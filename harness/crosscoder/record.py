"""What a study found, before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.config.crosscoder import StudyConfig
from harness.crosscoder.analysis import Findings
from harness.crosscoder.choose import Choice, Course
from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.quality import Quality
from harness.crosscoder.readings import Readings


@dataclass(frozen=True)
class Trained:
    """One crosscoder of a study.

    Attributes:
        label: what it is: a seed, or the null.
        crosscoder: its weights.
        quality: on held-out tokens.
        seconds: of its training, activations included.
        agreement: share of the first seed's live latents that it has too; None for the first and the null.
    """

    label: str
    crosscoder: Crosscoder
    quality: Quality
    seconds: float
    agreement: float | None = None


@dataclass(frozen=True)
class Results:
    """A whole study.

    Attributes:
        config: its settings.
        lineup: its models.
        course: the training that they are of; None where none was followed.
        choice: how they were chosen; None if they were named.
        trained: the crosscoders: the one that was taken apart, other seeds, the null.
        tasks: findings by task.
        null: findings in the null by task; None without one.
        held_out: the text that latents were read on.
    """

    config: StudyConfig
    lineup: Lineup
    course: Course | None
    choice: Choice | None
    trained: Sequence[Trained]
    tasks: Mapping[str, Findings]
    null: Mapping[str, Findings] | None
    held_out: Readings
