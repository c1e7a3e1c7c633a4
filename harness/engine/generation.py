"""Generating many texts: prompts from the tree, lanes that free their place one by one."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness.engine.accounting import Accounting
from harness.engine.lanes import Lanes
from harness.engine.progress import Progress
from harness.engine.sampling import Sampling, stream
from harness.engine.settings import EngineSettings
from harness.engine.stops import Stops
from harness.engine.supply import Ready, Supply
from harness.engine.tree import TokenIds
from harness.engine.vocabulary import most_likely
from harness.engine.walk import Core, free_memory, out_of_memory

logger = logging.getLogger(__name__)
GREEDY = Sampling()
# Where prompts share tokens, so many times ``batch_size`` texts may stand side by side if memory allows.
CROWD = 4
WHAT = "a text, and its prompt twice while it is copied,"


@dataclass(frozen=True)
class TextRequest:
    """One text to generate.

    Attributes:
        prompt: token ids.
        limit: tokens at most.
        lowered: the limit was more, but left no room for a prompt.
        stops: strings that end it.
        document: what names its document; seeds its sampling.
        sample: which sample of the document it is.
    """

    prompt: TokenIds
    limit: int
    lowered: bool
    stops: tuple[str, ...]
    document: str
    sample: int = 0


@dataclass
class _Text:
    """A text in the making."""

    request: int
    limit: int
    stops: tuple[str, ...]
    uniforms: Tensor | None
    seen: Tensor | None
    started: float
    tokens: list[int] = field(default_factory=list)


class Generator:
    """One run over a set of requests that choose their tokens alike.

    Args:
        core: the model.
        tokenizer: decodes texts, to look for stop strings.
        sampling: how tokens are chosen.
        ends: token ids that end a text.
        settings: batches and budgets.
        accounting: counts what it costs.
        progress: shows it.
    """

    def __init__(
        self,
        core: Core,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling,
        ends: frozenset[int],
        settings: EngineSettings,
        accounting: Accounting,
        progress: Progress,
    ) -> None:
        self._core, self._sampling, self._ends = core, sampling, ends
        self._settings, self._accounting, self._progress = settings, accounting, progress
        self._stops = Stops(tokenizer)
        self._requests: Sequence[TextRequest] = ()
        self._answers: list[list[int]] = []
        self._texts: list[_Text] = []

    def run(self, requests: Sequence[TextRequest]) -> list[list[int]]:
        """Generates every text.

        Returns:
            Tokens of each, with the one that ended it.
        """
        self._requests, self._answers = requests, [[] for _ in requests]
        todo, most = list(range(len(requests))), len(requests)
        with self._core.running():
            while todo:
                asked = [requests[i] for i in todo]
                prompts = [request.prompt for request in asked]
                supply = Supply(self._core, prompts, self._settings.batch_tokens, self._accounting)
                places = min(most, self._places(supply, asked))
                self._try_round(supply, todo, places)
                # Every text that was finished has tokens; the others start again, with half the places.
                todo, most = [i for i in todo if not self._answers[i]], max(1, places // 2)
        return self._answers

    def _places(self, supply: Supply, asked: Sequence[TextRequest]) -> int:
        """Lanes that take no more memory, if every text grew to its limit, than separate texts would."""
        path = max(len(request.prompt) for request in asked)  # what the walk holds
        # Twice the prompt: it is computed before it is copied into its lane.
        alone = path + max(len(request.prompt) + request.limit for request in asked)
        lane = max(supply.own) + max(own + request.limit for own, request in zip(supply.own, asked, strict=True))
        bytes_each = self._core.check_budget(path + alone, self._settings.cache_mb, WHAT) // (path + alone)
        cache = (self._settings.cache_mb << 20) // bytes_each
        budget = min(cache, path + self._settings.batch_size * alone) - path
        # Segments: all that there are, or those of each lane as if no other stood on them.
        fits = max((budget - supply.shared) // lane, budget // alone)
        return max(1, min(fits, CROWD * self._settings.batch_size, len(asked)))

    def _try_round(self, supply: Supply, todo: list[int], places: int) -> None:
        try:
            self._round(supply, todo, places)
            return
        except RuntimeError as error:
            if not out_of_memory(error) or places < 2:
                raise
        # Outside the handler, whose traceback would keep the round's tensors alive.
        self._accounting.halved_batches += 1
        logger.warning("out of memory with %d texts side by side; going on with %d", places, places // 2)
        free_memory()

    def _round(self, supply: Supply, todo: list[int], places: int) -> None:
        lanes = Lanes(places, max(own + self._requests[i].limit for own, i in zip(supply.own, todo, strict=True)))
        self._texts, waiting = [], list[tuple[int, Ready]]()
        self._progress.expect(supply.tokens)
        while waiting or supply.left or self._texts:
            free = lanes.places - len(lanes)
            enough = max(1, math.ceil(self._settings.refill * lanes.places))
            if (waiting or supply.left) and free >= enough:
                if not waiting:
                    waiting = self._prefill(supply, free, todo)
                self._admit(lanes, waiting[:free])
                waiting = waiting[free:]
            else:
                self._step(lanes)

    def _prefill(self, supply: Supply, free: int, todo: list[int]) -> list[tuple[int, Ready]]:
        """Computes prompts for the places that are free."""
        before = self._accounting.computed_tokens
        arrivals = [(todo[asker], ready) for ready in supply.take(free) for asker in ready.requests]
        self._progress.update(self._accounting.computed_tokens - before, 0)
        return arrivals

    def _admit(self, lanes: Lanes, arrivals: list[tuple[int, Ready]]) -> None:
        """Puts prompts into lanes and chooses the first token of each."""
        for request, ready in arrivals:
            lanes.add(ready.prompt)
            self._texts.append(self._text(request))
        first = len(self._texts) - len(arrivals)
        self._take(lanes, torch.stack([ready.hidden for _, ready in arrivals]), first)

    def _text(self, request: int) -> _Text:
        asked = self._requests[request]
        uniforms = seen = None
        if self._sampling.do_sample:
            uniforms = stream(self._settings.seed, asked.document, asked.sample, asked.limit)
        if self._sampling.repetition_penalty != 1.0:
            seen = torch.zeros(self._core.model.config.vocab_size, dtype=torch.bool)
            seen[torch.from_numpy(asked.prompt).long()] = True
        return _Text(request, asked.limit, asked.stops, uniforms, seen, time.monotonic())

    def _step(self, lanes: Lanes) -> None:
        """One token for every lane; if memory runs out, half of the lanes are given up for now."""
        last = np.array([text.tokens[-1] for text in self._texts], dtype=np.int64)
        try:
            hidden = self._core.hidden(last, lanes.positions, lanes.step())
        except RuntimeError as error:
            if not out_of_memory(error) or len(lanes) < 2:
                raise
        else:
            lanes.advance()
            self._accounting.computed_tokens += len(last)
            self._take(lanes, hidden, 0)
            return
        # Outside the handler, whose traceback would keep the step's tensors alive.
        self._give_up_half(lanes)

    def _give_up_half(self, lanes: Lanes) -> None:
        half = len(lanes) // 2
        self._accounting.halved_batches += 1
        logger.warning("out of memory with %d texts side by side; going on with %d", len(lanes), half)
        lanes.keep(list(range(half)))
        lanes.shrink()
        self._texts = self._texts[:half]
        free_memory()

    def _take(self, lanes: Lanes, hidden: Tensor, first: int) -> None:
        """Chooses the next token of each text from ``first`` on, and lets those go that have ended."""
        texts = self._texts[first:]
        tokens = self._choose(hidden, texts)
        for text, token in zip(texts, tokens, strict=True):
            text.tokens.append(token)
            if text.seen is not None:
                text.seen[token] = True
        stopped = self._stops.reached([t.tokens for t in texts], [t.stops for t in texts])
        now = time.monotonic()
        ended: list[int] = []
        for lane, (text, stop) in enumerate(zip(texts, stopped, strict=True), start=first):
            done = stop or text.tokens[-1] in self._ends or len(text.tokens) >= text.limit
            late = self._settings.deadline is not None and now - text.started > self._settings.deadline
            self._accounting.timed_out += late and not done
            if done or late:
                ended.append(lane)
                self._answers[text.request] = text.tokens
                self._progress.skip(text.limit - len(text.tokens))
        self._progress.update(len(texts), len(ended))
        if ended:
            order = lanes.keep([lane for lane in range(len(lanes)) if lane not in set(ended)])
            self._texts = [self._texts[lane] for lane in order]

    def _choose(self, hidden: Tensor, texts: list[_Text]) -> list[int]:
        if self._sampling == GREEDY:
            tokens, broken = self._core.head.most_likely(hidden)
        else:
            logits = self._core.head.logits(hidden)
            tokens, broken = self._draw(logits, texts), most_likely(logits)[0].isnan()
        # Where every logit counts, a NaN hides as a token like any other.
        out = torch.cat([tokens, broken.sum()[None].to(tokens)]).tolist()
        self._accounting.not_finite += out.pop()
        return out

    def _draw(self, logits: Tensor, texts: list[_Text]) -> Tensor:
        uniforms = seen = None
        if self._sampling.do_sample:
            drawn = [text.uniforms[len(text.tokens)] for text in texts if text.uniforms is not None]
            uniforms = torch.stack(drawn).to(logits.device)
        if self._sampling.repetition_penalty != 1.0:
            seen = torch.stack([text.seen for text in texts if text.seen is not None]).to(logits.device)
        return self._sampling.choose(logits, uniforms, seen)
