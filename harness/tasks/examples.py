"""Documents of a task that are asked and graded under one model after another."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from harness.data import rows_digest
from harness.patch import Scored
from harness.tasks.load import LoadedTask
from harness.tasks.questions import Chat, answer_of, requests_of, score_of, training_documents
from harness.tasks.sourced import SourcedTask


@dataclass(frozen=True)
class _Document:
    """One document: what it asks, and where its right answer is."""

    task: SourcedTask
    doc: Any
    requests: tuple[Instance, ...]
    gold: Instance | None


@dataclass(frozen=True)
class TaskExamples:
    """Documents of a task, any of its output types; see `harness.patch.Examples`."""

    documents: Sequence[_Document]
    metric: str

    @property
    def digest(self) -> str:
        """SHA-256 of what is asked and what is right."""
        return rows_digest([d.doc, [list(r.args) for r in d.requests], [self.metric]] for d in self.documents)

    def __len__(self) -> int:
        return len(self.documents)

    def part(self, start: int, stop: int) -> TaskExamples:
        """Some of them."""
        return replace(self, documents=self.documents[start:stop])

    def scored(self, lm: LM) -> list[Scored]:
        """Each of them under a model: the task's metric, and the log-likelihood of the right answer."""
        asked = [[replace(r, resps=[], filtered_resps={}) for r in d.requests] for d in self.documents]
        kinds = dict.fromkeys(r.request_type for requests in asked for r in requests)
        for kind in kinds:
            chosen = [r for requests in asked for r in requests if r.request_type == kind]
            for request, answer in zip(chosen, getattr(lm, kind)(chosen, disable_tqdm=True), strict=True):
                request.resps.append(answer)
        golds = [d.gold for d in self.documents if d.gold is not None]
        likelihoods = iter(lm.loglikelihood(golds, disable_tqdm=True) if golds else ())
        out = []
        for document, requests in zip(self.documents, asked, strict=True):
            if document.task.OUTPUT_TYPE == "multiple_choice":
                likelihood = _of_choice(document, requests)
            else:
                likelihood = next(likelihoods)[0] if document.gold is not None else 0.0
            out.append(Scored(score_of(document.task, document.doc, requests, self.metric), float(likelihood)))
        return out


def _of_choice(document: _Document, requests: Sequence[Instance]) -> float:
    """Log-likelihood of the right choice; 0 where the right one is not a single number."""
    gold = document.task.doc_to_target(document.doc)
    if not isinstance(gold, int) or not 0 <= gold < len(requests):
        return 0.0
    return float(requests[gold].resps[0][0])


def training_examples(loaded: LoadedTask, count: int | None, seed: int, chat: Chat | None = None) -> TaskExamples:
    """Training documents of a task, drawn at random; subtasks are drawn from as one.

    Raises:
        ValueError: for a task without training documents, or one that tests on them.
    """
    documents = list(training_documents(loaded))
    return _drawn(loaded, documents, count, seed, chat)


def leaky_examples(loaded: LoadedTask, count: int | None, seed: int, chat: Chat | None = None) -> TaskExamples:
    """The same from the documents that are tested: what is found on them is not comparable."""
    documents = [(n, i, d) for n, task in loaded.subtasks.items() for i, d in enumerate(task.eval_docs)]
    return _drawn(loaded, documents, count, seed, chat)


def _drawn(
    loaded: LoadedTask, documents: list[tuple[str, int, Any]], count: int | None, seed: int, chat: Chat | None
) -> TaskExamples:
    random.Random(seed).shuffle(documents)
    return TaskExamples(
        [_document(loaded.subtasks[n], n, i, doc, chat) for n, i, doc in documents[:count]], loaded.config.metric
    )


def _document(task: SourcedTask, name: str, number: int, doc: Any, chat: Chat | None) -> _Document:
    requests = requests_of(task, name, number, doc, chat)
    gold = None
    # lm-eval cannot score a text behind an image.
    seen = len(requests[0].args) > 2
    if task.OUTPUT_TYPE == "generate_until" and not seen and (answer := answer_of(task, doc)) is not None:
        gold = replace(requests[0], request_type="loglikelihood", arguments=(requests[0].args[0], answer))
    return _Document(task, doc, tuple(requests), gold)
