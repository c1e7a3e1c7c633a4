"""Weights & Biases: a run for each row, in one project."""

from __future__ import annotations

from harness.report.loggers.base import Logged, tracker


class WandbLogger:
    """Tells Weights & Biases, or writes for a later ``wandb sync`` where ``WANDB_MODE=offline``.

    Args:
        project: name of the project.
        uri: folder of its local files; None for its own default.
    """

    def __init__(self, project: str, uri: str | None) -> None:
        self._wandb, self._project, self._folder = tracker("wandb", "wandb"), project, uri

    def log(self, run: Logged) -> None:
        """Stores one run with its settings, numbers and pages."""
        with self._wandb.init(project=self._project, name=run.name, config=run.settings, dir=self._folder) as made:
            made.summary.update(run.numbers)
            for path in run.files:
                made.save(str(path), base_path=str(path.parent), policy="now")
