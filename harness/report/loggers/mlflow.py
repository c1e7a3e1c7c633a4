"""MLflow: a run for each row, in one experiment."""

from __future__ import annotations

from harness.report.loggers.base import Logged, tracker


class MlflowLogger:
    """Tells an MLflow server or a local store.

    Args:
        project: name of the experiment.
        uri: tracking URI (``http://...``, ``sqlite:///file``); None for MLflow's own default.
    """

    def __init__(self, project: str, uri: str | None) -> None:
        self._mlflow = tracker("mlflow", "mlflow")
        if uri is not None:
            self._mlflow.set_tracking_uri(uri)
        self._mlflow.set_experiment(project)

    def log(self, run: Logged) -> None:
        """Stores one run with its settings, numbers and pages."""
        with self._mlflow.start_run(run_name=run.name):
            self._mlflow.log_params(run.settings)
            self._mlflow.log_metrics(run.numbers)
            for path in run.files:
                self._mlflow.log_artifact(str(path))
