"""Other places that results may be told to, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable

from harness.config.schema import LogConfig
from harness.report.loggers.base import Logged, Logger, logged_rows
from harness.report.loggers.mlflow import MlflowLogger
from harness.report.loggers.trackio import TrackioLogger
from harness.report.loggers.wandb import WandbLogger
from harness.report.rows import Table

LOGGERS: dict[str, Callable[[str, str | None], Logger]] = {
    "mlflow": MlflowLogger,
    "wandb": WandbLogger,
    "trackio": TrackioLogger,
}

__all__ = ["LOGGERS", "Logged", "Logger", "log_table", "logged_rows", "tell"]


def tell(table: Table, log: LogConfig) -> list[str]:
    """Tells every tracker of a run; one that cannot be told does not take the others, or the results, with it.

    Returns:
        What was done or went wrong, line by line.
    """
    lines = []
    for name in log.to:
        try:
            lines.append(f"{log_table(table, name, log.project, log.uri)} rows told to {name}, project {log.project}")
        except Exception as error:  # a tracker's own: no server, no key, a full disk
            lines.append(f"error: {name} was not told: {str(error) or type(error).__name__}")
    return lines


def log_table(table: Table, to: str, project: str, uri: str | None = None) -> int:
    """Tells a tracker of every row of a table, each a run of its own.

    Args:
        table: the results.
        to: one of `LOGGERS`.
        project: experiment or project there.
        uri: where the tracker is, in its own terms; None for its default.

    Returns:
        The number of runs.

    Raises:
        ValueError: for an unknown tracker, or one that is not installed.
    """
    if to not in LOGGERS:
        raise ValueError(f"unknown logger {to!r}; known: {', '.join(LOGGERS)}")
    logger = LOGGERS[to](project, uri)
    rows = logged_rows(table)
    for row in rows:
        logger.log(row)
    return len(rows)
