"""The engine as lm-eval sees it: `HFLM`'s numbers, computed over prefix trees."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.engine.encode import Encoder, Tokens
from harness.engine.generation import Generator, TextRequest
from harness.engine.hf import ResidentLM
from harness.engine.plans import Plans
from harness.engine.progress import Progress
from harness.engine.sampling import Sampling
from harness.engine.scoring import ScoringPlan, score
from harness.engine.settings import EngineSettings
from harness.engine.walk import Core

logger = logging.getLogger(__name__)


class TreeLM(ResidentLM):
    """`HFLM` over a resident model whose requests are computed as a prefix tree.

    Encoding, truncation, chat templates and special tokens are `HFLM`'s own; what is replaced is the
    work: no token is computed twice, and the head runs only where it is read.

    Args:
        model: the resident model, with whatever patch is in.
        tokenizer: its tokenizer.
        settings: batches and budgets.
        max_length: context in tokens; None for the model's own.
        plans: what was encoded and laid out for earlier variants of the same base, to be used again.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: EngineSettings | None = None,
        max_length: int | None = None,
        plans: Plans | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        super().__init__(model, tokenizer, self.settings.batch_size, max_length)
        self._core = Core(model)
        self._encoder = Encoder(self)
        self._plans = plans if plans is not None else Plans()

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding gives it."""
        if not requests:
            return []
        documents = len({(request.task_name, request.doc_id) for request in requests})
        return self._score(self.plan_of(requests), len(requests), documents, disable_tqdm)

    def plan_of(self, requests: Sequence[Instance]) -> ScoringPlan:
        """What scoring these requests takes; made once for all variants of the base."""
        pairs = [request.args for request in requests]
        kind = "loglikelihood", self.max_length
        return self._plans.get(kind, pairs, lambda: self._plan(self._encoder.pairs(pairs)))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in windows of the context's length."""
        windows, bounds = self._windows([text for (text,) in (request.args for request in requests)])
        answers = self._score(self._plan(windows), len(requests), len(requests), disable_tqdm) if windows else []
        return [sum(value for value, _ in answers[a:b]) for a, b in pairwise(bounds)]

    def _windows(self, texts: Sequence[str]) -> tuple[list[tuple[Tokens, int]], list[int]]:
        encoded = self._encoder.encode(texts, bos=self.tokenizer.decode(self.prefix_token_id))
        out: list[tuple[Tokens, int]] = []
        bounds = [0]
        for text in texts:
            rolling = get_rolling_token_windows(
                token_list=encoded[text].tolist(),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, target in map(make_disjoint_window, rolling):
                out.append((np.array(context + target, dtype=np.int32), len(target)))
            bounds.append(len(out))
        return out, bounds

    def _plan(self, requests: Sequence[tuple[Tokens, int]]) -> ScoringPlan:
        """Lays requests out as a tree.

        Raises:
            ValueError: if a continuation has no tokens, or more than the context holds.
        """
        for tokens, n in requests:
            if not 0 < n <= self.max_length:
                text = self.tokenizer.decode(tokens[-20:])
                raise ValueError(
                    f"a continuation of {n} tokens (...{text!r}) cannot be scored: "
                    f"1 to {self.max_length} would be right"
                )
        return ScoringPlan.of(requests, self.max_length)

    def _score(self, plan: ScoringPlan, requests: int, documents: int, quiet: bool) -> list[tuple[float, bool]]:
        self.accounting.requests += requests
        self.accounting.prompt_tokens += plan.tokens
        self.accounting.clipped_prompts += plan.clipped
        with Progress("scoring", len(plan.tree), documents, "documents", quiet, self.cell_deadline) as progress:
            answers = score(self._core, plan, self.settings, self.accounting, progress)
        self.accounting.not_finite += sum(not math.isfinite(value) for value, _ in answers)
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A text for each request, up to its stop strings.

        Settings that the engine does not know (beams, penalties other than of repetition) are left to
        `HFLM`, and the log says which.
        """
        groups: dict[Sampling | None, list[int]] = {}
        read: dict[str, Sampling | None] = {}
        for i, request in enumerate(requests):
            if (settings := repr(request.args[1])) not in read:
                read[settings] = self._sampling(request.args[1])
            groups.setdefault(read[settings], []).append(i)
        texts = self._text_requests(requests)
        out = [""] * len(requests)
        for sampling, members in groups.items():
            if sampling is None:
                answers = super().generate_until([requests[i] for i in members], disable_tqdm)
            else:
                answers = self._generate([texts[i] for i in members], sampling, disable_tqdm)
            for i, answer in zip(members, answers, strict=True):
                out[i] = answer
        return out

    def _sampling(self, settings: dict[str, Any]) -> Sampling | None:
        sampling, unknown = Sampling.of(self.model, settings)
        if unknown:
            logger.warning("the engine does not know %s: those texts are generated by lm-eval", ", ".join(unknown))
        return sampling

    def _text_requests(self, requests: Sequence[Instance]) -> list[TextRequest]:
        """Prompts encoded and cut, limits kept within the context, samples of a document numbered."""
        prompts = self._plans.get(
            "prompts",
            [(request.args[0],) for request in requests],
            lambda: self._encoder.encode((request.args[0] for request in requests), bos=self.tokenizer.bos_token),
        )
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        samples: Counter[str] = Counter()
        out = []
        for request in requests:
            prompt, settings = request.args
            budget, lowered = self.budget(settings)
            stops = handle_stop_sequences(list(normalize_gen_kwargs(settings)["until"]), eos=eos)
            document = f"{request.task_name}|{request.doc_id}|{request.idx}|{prompt}"
            tokens = prompts[prompt] if len(prompts[prompt]) else np.array([self.prefix_token_id], dtype=np.int32)
            stops = tuple(stop for stop in stops if stop)
            limit = budget["max_gen_toks"]
            out.append(TextRequest(tokens, limit, lowered, stops, document, samples[document]))
            samples[document] += 1
        return out

    def _generate(self, texts: list[TextRequest], sampling: Sampling, quiet: bool) -> list[str]:
        for text in texts:
            self._count_prompt(len(text.prompt), text.limit, text.lowered)
        answers = self.generate(texts, sampling, quiet)
        decoded = [
            postprocess_generated_text(self.tok_decode(tokens), list(text.stops), None)
            for tokens, text in zip(answers, texts, strict=True)
        ]
        encoded = self._encoder.encode(decoded)
        self.accounting.generated_tokens += sum(len(encoded[text]) for text in decoded)
        return decoded

    def generate(self, texts: Sequence[TextRequest], sampling: Sampling, quiet: bool = False) -> list[list[int]]:
        """Tokens of each text, with the one that ended it; prompts that do not fit are cut on the left."""
        room = self.max_length
        fitting = [
            t if len(t.prompt) <= room - t.limit else replace(t, prompt=t.prompt[-(room - t.limit) :]) for t in texts
        ]
        with Progress(
            "generating", sum(t.limit for t in texts), len(texts), "texts", quiet, self.cell_deadline
        ) as progress:
            generator = Generator(
                self._core, self.tokenizer, sampling, self._ends(), self.settings, self.accounting, progress
            )
            return generator.run(fitting)

    def _ends(self) -> frozenset[int]:
        """Tokens that end a text: the model's own, and the tokenizer's."""
        own = getattr(self.model.generation_config, "eos_token_id", None)
        return frozenset({self.eot_token_id, *(own if isinstance(own, list) else [own])}) - {None}
