"""How many documents a task has, as far as its data can be reached."""

from __future__ import annotations

import warnings
from pathlib import Path

from harness.config.compose import compose_task
from harness.config.offline import settle_offline
from harness.data import DataSource
from harness.sandbox import Limits, ProcessSandbox
from harness.tasks.load import load_task


def documents_of_task(name: str, source: str = "hub", root: str | None = None) -> tuple[int | None, str]:
    """Counts a task's documents.

    Args:
        name: a task of ``conf/task``.
        source: ``hub`` or ``mirror``.
        root: folder of the mirror.

    Returns:
        The number, or None and why it is not known.

    Raises:
        ValueError: for an unknown task, or a mirror that is not there.
    """
    settle_offline()
    config = compose_task(name, {})[0]
    data = DataSource(source, Path(root) if root else None)  # type: ignore[arg-type]  # checked there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it does not isolate: nothing is run
        sandbox = ProcessSandbox(Limits()) if config.scorer == "code" else None
    try:
        task = load_task(name, config, data, sandbox)
        return sum(len(subtask.eval_docs) for subtask in task.subtasks.values()), ""
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        return None, f"How many documents {name} has is not known here ({reason}); say --documents N."
