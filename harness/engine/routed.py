"""Requests in two passes: a router chooses a patch for each document, then each is asked under its own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import PreTrainedModel

from harness.engine.accounting import Accounting
from harness.engine.hf import ResidentLM
from harness.patch import Patch, Query, Router, Routing, Stage

Open = Callable[[PreTrainedModel], ResidentLM]


class RoutedLM(LM):
    """The engine under a router: requests are grouped by the patch of their document, and each patch goes in once.

    Args:
        model: the resident model, the base.
        open_engine: opens the engine over it, with whatever patch is in.
        router: decides.
        queries: every document that will be asked.
        stage: what the router may use.
    """

    def __init__(
        self, model: PreTrainedModel, open_engine: Open, router: Router, queries: Sequence[Query], stage: Stage
    ) -> None:
        super().__init__()
        self._model, self._open, self._router = model, open_engine, router
        self._queries, self._stage = queries, stage
        self._plain = open_engine(model)
        self._counts: Counter[str] = Counter()
        self._routing: Routing | None = None
        self._routes: dict[tuple[str, int], str] = {}
        self.first_pass = 0.0

    @property
    def routing(self) -> Routing:
        """What pass one decided, with its time in ``first_pass``; made when it is first asked for."""
        if self._routing is None:
            started = time.monotonic()
            self._routing = self._router.route(self._queries, self._stage)
            assert len(self._routing.names) == len(self._queries), "a route for each query"
            self._routes = {q.key: name for q, name in zip(self._queries, self._routing.names, strict=True)}
            self.first_pass = time.monotonic() - started
        return self._routing

    def route_of(self, subtask: str, doc_id: int) -> str:
        """The route of a document."""
        assert self.routing is not None
        return self._routes[subtask, doc_id]

    @property
    def accounting(self) -> Accounting:
        """What pass two cost."""
        return Accounting(**self._counts)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As the engine's, each request under the patch of its document."""
        return self._by_route("loglikelihood", requests, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """As the engine's, each request under the patch of its document."""
        return self._by_route("loglikelihood_rolling", requests, disable_tqdm)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As the engine's, each request under the patch of its document."""
        return self._by_route("generate_until", requests, disable_tqdm)

    def _by_route(self, kind: str, requests: list[Instance], quiet: bool) -> list[Any]:
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            assert request.task_name is not None and request.doc_id is not None
            groups.setdefault(self.route_of(request.task_name, request.doc_id), []).append(i)
        out: list[Any] = [None] * len(requests)
        for route, members in groups.items():
            answers = self._under(self.routing.patches[route], kind, [requests[i] for i in members], quiet)
            for i, answer in zip(members, answers, strict=True):
                out[i] = answer
        return out

    def _under(self, patch: Patch, kind: str, requests: list[Instance], quiet: bool) -> list[Any]:
        with patch.applied(self._model) as model:
            lm = self._open(model)
            answers: list[Any] = getattr(lm, kind)(requests, disable_tqdm=quiet)
            self._counts.update(asdict(lm.accounting))
        return answers

    def tok_encode(self, text: str) -> list[int]:
        """The tokens of a text; the tokenizer is that of the base."""
        return self._plain.tok_encode(text)

    @property
    def tokenizer_name(self) -> str:
        """As the engine's."""
        return self._plain.tokenizer_name

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """As the engine's."""
        return self._plain.chat_template(chat_template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """As the engine's."""
        return self._plain.apply_chat_template(chat_history, add_generation_prompt)
