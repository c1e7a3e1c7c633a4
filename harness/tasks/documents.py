"""Training documents of any task by its name, for variants that learn from them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.compose import compose_task
from harness.data import DataSource
from harness.sandbox import Sandbox
from harness.tasks.load import LoadedTask, load_task
from harness.tasks.questions import Chat, TaskQuestion, training_documents, training_questions


@dataclass(frozen=True)
class Documents:
    """Tasks as variants see them.

    Attributes:
        source: where data lie.
        sandbox: opens the sandbox that runs programs in answers.
        chat: renders a chat as a prompt, where the run asks for that.
    """

    source: DataSource
    sandbox: Callable[[], Sandbox]
    chat: Chat | None = None

    def task(self, name: str, settings: Mapping[str, Any] | None = None) -> LoadedTask:
        """A task with its data.

        Raises:
            ValueError: for an unknown task or setting, or data that are missing.
        """
        config, taken = compose_task(name, settings or {})
        if unknown := sorted(set(settings or {}) - taken):
            raise ValueError(f"task {name} has no setting {', '.join(unknown)}")
        return load_task(name, config, self.source, self.sandbox() if config.scorer == "code" else None)

    def questions(self, name: str, settings: Mapping[str, Any], limit: int | None) -> list[TaskQuestion]:
        """A task's training documents as graded questions."""
        return training_questions(self.task(name, settings), limit, self.chat)

    def asked(self, name: str, limit: int | None) -> list[str]:
        """What a task's training documents ask, without shots; so many at random, of all its subtasks together."""
        loaded = self.task(name)
        texts = [str(loaded.subtasks[leaf].doc_to_text(doc)) for leaf, _, doc in training_documents(loaded)]
        return texts if limit is None or limit >= len(texts) else random.Random(0).sample(texts, limit)
