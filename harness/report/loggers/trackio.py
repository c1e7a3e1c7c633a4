"""trackio: a run for each row, in one project."""

from __future__ import annotations

from harness.report.loggers.base import Logged, tracker


class TrackioLogger:
    """Tells trackio: the machine's own store, or a space of the Hugging Face hub.

    Args:
        project: name of the project.
        uri: id of a space; None for the machine's own store.
    """

    def __init__(self, project: str, uri: str | None) -> None:
        self._trackio, self._project, self._space = tracker("trackio", "trackio"), project, uri

    def log(self, run: Logged) -> None:
        """Stores one run with its settings and numbers; it keeps no pages."""
        self._trackio.init(
            project=self._project,
            name=run.name,
            config=run.settings,
            space_id=self._space,
            embed=False,
            auto_log_gpu=False,
        )
        self._trackio.log(run.numbers)
        self._trackio.finish()
