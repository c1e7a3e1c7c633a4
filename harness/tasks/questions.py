"""A task's training documents as questions, graded as the task grades its tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from harness.tasks.load import LoadedTask
from harness.tasks.sourced import SourcedTask


@dataclass(frozen=True)
class TaskQuestion:
    """A training document of a task.

    Attributes:
        prompt: as the task asks it, with its shots.
        settings: lm-eval's generation settings.
        name: what names it.
    """

    prompt: str
    settings: Mapping[str, Any]
    name: str
    _task: SourcedTask
    _doc: Mapping[str, Any]
    _request: Instance
    _metric: str

    def grade(self, text: str) -> float:
        """1 for an answer that the task's own filter and metric call right, else -1."""
        metric, _, wanted = self._metric.partition(",")
        request = replace(self._request, resps=[text], filtered_resps={})
        for one in self._task._filters:
            one.apply([request])
        scores = self._task.process_results(self._doc, [request.filtered_resps[wanted or "none"]])
        return 1.0 if scores[metric] >= 1 else -1.0


def training_questions(loaded: LoadedTask, limit: int | None = None) -> list[TaskQuestion]:
    """The training documents of a task, in their order; no test document is among them.

    Args:
        loaded: the task.
        limit: documents of each subtask, from the first; None for all.

    Raises:
        ValueError: for a task that generates no answers, has no training documents, or tests on them.
    """
    out = []
    for name, task in loaded.subtasks.items():
        if task.OUTPUT_TYPE != "generate_until":
            raise ValueError(
                f"task {loaded.name}: {name} generates no answers to learn from; it scores {task.OUTPUT_TYPE}"
            )
        if not task.has_training_docs():
            raise ValueError(f"task {loaded.name}: {name} has no training documents")
        docs = task.training_docs()
        assert docs is not None
        tested = {str(task.doc_to_text(doc)) for doc in task.eval_docs}
        for number, doc in enumerate(docs):
            if limit is not None and number >= limit:
                break
            if str(task.doc_to_text(doc)) in tested:
                raise ValueError(f"task {loaded.name}: training document {number} of {name} is a test document too")
            out.append(_question(task, name, number, doc, loaded.config.metric))
    return out


def _question(task: SourcedTask, name: str, number: int, doc: Any, metric: str) -> TaskQuestion:
    context = task.fewshot_context(doc, task.config.num_fewshot or 0)
    request = task.construct_requests(doc, context, metadata=(name, number, 1))
    assert isinstance(request, Instance)
    prompt, settings = request.args
    return TaskQuestion(prompt, normalize_gen_kwargs(settings), f"{name}/train/{number}", task, doc, request, metric)
