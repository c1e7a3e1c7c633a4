"""lm-eval's own Hugging Face backend over a resident model, with budgets kept and counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_BUDGET = 256  # lm-eval's own default of max_gen_toks


@dataclass
class Accounting:
    """What a cell cost and what did not fit.

    Attributes:
        requests: requests answered.
        prompt_tokens: tokens of the prompts as given, with continuations that are scored.
        generated_tokens: tokens of the texts that were generated, up to their stop.
        clipped_prompts: requests whose prompt lost tokens on the left.
        clipped_budgets: requests whose generation limit was lowered to fit the context.
        not_finite: requests whose log-likelihood was NaN or infinite.
    """

    requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    clipped_prompts: int = 0
    clipped_budgets: int = 0
    not_finite: int = 0


class ResidentLM(HFLM):
    """`HFLM` on a model that is loaded already.

    Prompts that do not fit are cut on the left, as `HFLM` does. A generation limit may take at
    most half of the context: `HFLM` refuses limits that leave no room for a prompt (HumanEval's
    1,024 tokens on a model of 512), here they are lowered, and both are counted.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int,
        max_length: int | None = None,
    ) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, max_length=max_length)
        self.accounting = Accounting()

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generates greedily or as the request says; see the class for budgets."""
        for request in requests:
            prompt, settings = request.args
            settings, lowered = self.budget(settings)
            request.arguments = (prompt, settings)
            length = len(self.tok_encode(prompt))
            self.accounting.requests += 1
            self.accounting.prompt_tokens += length
            self.accounting.clipped_budgets += lowered
            self.accounting.clipped_prompts += length > self.max_length - settings["max_gen_toks"]
        texts = super().generate_until(requests, disable_tqdm=disable_tqdm)
        self.accounting.generated_tokens += sum(len(self.tok_encode(text)) for text in texts)
        return texts

    def budget(self, settings: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Generation settings whose limit leaves half of the context to the prompt, and whether it was lowered."""
        wanted = int(settings.get("max_gen_toks", DEFAULT_BUDGET))
        allowed = max(1, min(wanted, self.max_length // 2))
        return {**settings, "max_gen_toks": allowed}, allowed < wanted

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
        self.accounting.not_finite += sum(not _finite(value) for value, _ in results)
        return results


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
