"""A task's training documents as questions, graded as the task grades its tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from harness.data import rows_digest, told
from harness.lab.datasets import PATH
from harness.lab.systems import system_of
from harness.tasks.load import LoadedTask
from harness.tasks.sourced import CodeTask, SourcedTask

logger = logging.getLogger(__name__)
Chat = Callable[..., str]


@dataclass(frozen=True)
class TaskQuestion:
    """A training document of a task.

    Attributes:
        prompt: as the task asks it, with its shots.
        text: what it asks, without them.
        settings: lm-eval's generation settings.
        name: what names it.
    """

    prompt: str
    text: str
    settings: Mapping[str, Any]
    name: str
    _task: SourcedTask
    _doc: Mapping[str, Any]
    _request: Instance
    _metric: str

    @property
    def digest(self) -> str:
        """SHA-256 of the document and the metric."""
        return rows_digest([self._doc, [self._metric]])

    @property
    def images(self) -> list[Any]:
        """The images that it is about."""
        return list(self._request.args[2]["visual"]) if len(self._request.args) > 2 else []

    @property
    def truth(self) -> str | None:
        """``system1`` or ``system2`` where that is known: in the lab, by the operations that an answer chains."""
        return system_of(self._doc) if self._task.config.dataset_path == PATH else None

    @property
    def target(self) -> str:
        """The answer that the task gives, as text behind the prompt.

        Raises:
            ValueError: for programs, whose tasks give tests.
        """
        if (answer := answer_of(self._task, self._doc)) is None:
            raise ValueError(f"{self.name}: its task gives tests and no answer to learn; name texts of your own")
        return answer

    def grade(self, text: str) -> float:
        """1 for an answer that the task's own filter and metric call right, else -1."""
        request = replace(self._request, resps=[text], filtered_resps={})
        return 1.0 if score_of(self._task, self._doc, [request], self._metric) >= 1 else -1.0


def answer_of(task: SourcedTask, doc: Any) -> str | None:
    """The answer that a task gives, as text behind the prompt; None for programs, whose tasks give tests."""
    return None if isinstance(task, CodeTask) else f"{task.config.target_delimiter}{task.doc_to_target(doc)}"


def score_of(task: SourcedTask, doc: Any, requests: list[Instance], metric: str) -> float:
    """A document's metric from its answered requests."""
    name, _, wanted = metric.partition(",")
    for one in task._filters:
        one.apply(requests)
    scores = task.process_results(doc, [request.filtered_resps[wanted or "none"] for request in requests])
    return float(scores[name])


def training_questions(loaded: LoadedTask, limit: int | None = None, chat: Chat | None = None) -> list[TaskQuestion]:
    """The training documents of a task, in their order; no test document is among them.

    Args:
        loaded: the task.
        limit: documents of each subtask, from the first; None for all.
        chat: renders a chat as a prompt, where the run asks for that.

    Raises:
        ValueError: for a task that generates no answers, has no training documents, or tests on them.
    """
    for name, task in loaded.subtasks.items():
        if task.OUTPUT_TYPE != "generate_until":
            raise ValueError(
                f"task {loaded.name}: {name} generates no answers to learn from; it scores {task.OUTPUT_TYPE}"
            )
    out = []
    for name, number, doc in training_documents(loaded, limit):
        task = loaded.subtasks[name]
        (request,) = requests_of(task, name, number, doc, chat)
        prompt, settings = request.args[:2]
        text = str(task.doc_to_text(doc))
        settings = normalize_gen_kwargs(settings)
        out.append(
            TaskQuestion(prompt, text, settings, f"{name}/train/{number}", task, doc, request, loaded.config.metric)
        )
    return out


def training_documents(loaded: LoadedTask, limit: int | None = None) -> Iterator[tuple[str, int, Any]]:
    """Subtask, number and document of each training document; what is tested too is left out.

    Raises:
        ValueError: for a task without training documents beside those that it tests.
    """
    for name, task in loaded.subtasks.items():
        docs = training_split(loaded, task)
        if docs is None:
            raise ValueError(f"task {loaded.name}: {name} has no training documents; see task.training_split")
        tested = {_asked(task, doc) for doc in task.eval_docs}
        found, common = 0, 0
        for number, doc in enumerate(docs):
            if limit is not None and found >= limit:
                break
            if _asked(task, doc) in tested:
                common += 1
                continue
            found += 1
            yield name, number, doc
        if common and not found:
            raise ValueError(f"task {loaded.name}: all training documents of {name} are test documents too")
        if common:
            logger.warning("%s: %d training documents are test documents too, and are left out", name, common)


def _asked(task: SourcedTask, doc: Any) -> str:
    """What tells a document from others: its text, and its images."""
    images = task.doc_to_image(doc) if task.config.doc_to_image is not None else []
    return "|".join([str(task.doc_to_text(doc)), *map(told, images)])


def training_split(loaded: LoadedTask, task: SourcedTask) -> Any:
    """The documents that may be learned from, as the task prepares them; None if there are none."""
    if (split := loaded.config.training_split) is None:
        return task.training_docs() if task.has_training_docs() else None
    docs = task.dataset[split]
    return task.config.process_docs(docs) if task.config.process_docs is not None else docs


def requests_of(task: SourcedTask, name: str, number: int, doc: Any, chat: Chat | None) -> list[Instance]:
    """What a document asks of a model; it is never among its own shots."""
    with _not_its_own_shot(task, doc):
        context = task.fewshot_context(
            doc,
            task.config.num_fewshot or 0,
            apply_chat_template=chat is not None,
            chat_template=chat,
            gen_prefix=task.doc_to_prefix(doc),
        )
    made = task.construct_requests(
        doc, context, metadata=(name, number, 1), apply_chat_template=chat is not None, chat_template=chat
    )
    return made if isinstance(made, list) else [made]


@contextmanager
def _not_its_own_shot(task: SourcedTask, doc: Any) -> Iterator[None]:
    """lm-eval keeps a document out of its shots only where these are drawn from the test split."""
    if not task.config.num_fewshot:
        yield
        return
    sampler = task.sampler
    sample = sampler.sample
    sampler.sample = lambda n, eval_doc=None, **rest: sample(n, eval_doc=doc, **rest)
    try:
        yield
    finally:
        sampler.sample = sample
