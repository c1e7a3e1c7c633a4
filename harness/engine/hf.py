"""lm-eval's own Hugging Face backend over a resident model, with budgets kept and counted."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from harness.engine.accounting import Accounting
from harness.engine.deadline import Deadline

_LIMIT_ALIASES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
DEFAULT_BUDGET = 256  # lm-eval's own default of max_gen_toks


class CountNaN(LogitsProcessor):
    """Counts rows with a NaN among their logits; greedy decoding would hide them as token 0."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Called at each step, with the logits of all rows; they are left as they are."""
        self._accounting.not_finite += int(scores.isnan().any(dim=-1).sum())
        return scores


class ResidentLM(HFLM):
    """`HFLM` on a model that is loaded already.

    Prompts that do not fit are cut on the left, as `HFLM` does. `HFLM` refuses generation limits that
    leave no room for a prompt (HumanEval's 1,024 tokens on a model of 512): here such a limit is
    lowered to half of the context. Both are counted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        max_length: int | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=max_length)
        self.accounting = Accounting()
        self.cell_deadline = Deadline()
        self._deadline = deadline

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates greedily or as the request says; see the class for budgets."""
        fitting = []
        for request in requests:
            prompt, settings = request.args
            settings, lowered = self.budget(settings)
            self._count_prompt(len(self.tok_encode(prompt)), settings["max_gen_toks"], lowered)
            fitting.append(replace(request, arguments=(prompt, settings)))
        texts = super().generate_until(fitting, disable_tqdm=disable_tqdm)
        self.accounting.generated_tokens += sum(len(self.tok_encode(text)) for text in texts)
        return texts

    def _count_prompt(self, length: int, limit: int, lowered: bool) -> None:
        self.accounting.requests += 1
        self.accounting.prompt_tokens += length
        self.accounting.clipped_budgets += lowered
        self.accounting.clipped_prompts += length > self.max_length - limit

    def budget(self, settings: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Generation settings with a limit that leaves room for a prompt, and whether it was lowered."""
        wanted = int(normalize_gen_kwargs(settings, DEFAULT_BUDGET)["max_gen_toks"])
        allowed = wanted if wanted < self.max_length else max(1, self.max_length // 2)
        kept = {k: v for k, v in settings.items() if k not in _LIMIT_ALIASES}
        return {**kept, "max_gen_toks": allowed}, allowed < wanted

    def _model_call(self, inps: Tensor, **settings: Any) -> Tensor:
        self.cell_deadline.check()
        return super()._model_call(inps, **settings)

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        self.cell_deadline.check()
        watch = LogitsProcessorList([CountNaN(self.accounting)])
        if self._deadline is not None:
            # transformers counts from the start of the batch, which is the start of each of its texts.
            generation_kwargs["max_time"] = self._deadline
        return super()._model_generate(context, max_length, stop, logits_processor=watch, **generation_kwargs)

    def _loglikelihood_tokens(
        self, requests: list[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        for _, context, continuation in requests:
            length = len(context) + len(continuation)
            self.accounting.requests += 1
            self.accounting.prompt_tokens += length
            # One token more than the context fits: the last one is only predicted.
            self.accounting.clipped_prompts += length > self.max_length + 1
        results = super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        self.accounting.not_finite += sum(not math.isfinite(value) for value, _ in results)
        return results
