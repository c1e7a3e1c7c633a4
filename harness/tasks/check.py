"""What can be said of a task's config before its data are loaded."""

from __future__ import annotations

from harness.config.schema import TaskConfig

SCORERS = ("lm_eval", "math", "code")


def check_task(name: str, config: TaskConfig) -> None:
    """Raises a ValueError for settings that do not go together."""
    if config.scorer not in SCORERS:
        raise ValueError(f"task {name}: unknown scorer {config.scorer!r}; known: {', '.join(SCORERS)}")
    if config.repeats < 1:
        raise ValueError(f"task {name}: repeats {config.repeats}: at least 1")
    if config.scorer == "code" and (not config.pass_k or max(config.pass_k) > config.repeats):
        raise ValueError(
            f"task {name}: pass_k {config.pass_k} needs repeats of at least {max(config.pass_k, default=1)}"
        )
    if not 0 <= config.chance <= 1:
        raise ValueError(f"task {name}: chance {config.chance} is not between 0 and 1")
