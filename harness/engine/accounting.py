"""What a cell cost, and what did not fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Accounting:
    """What a cell cost and what did not fit.

    Attributes:
        requests: requests answered.
        prompt_tokens: tokens of the prompts as given, with continuations that are scored.
        generated_tokens: tokens of the texts that were generated, up to their stop.
        computed_tokens: tokens that went through the layers (under `hf`, padding and all that is
            computed again are not counted: it does not tell).
        clipped_prompts: requests whose prompt lost tokens on the left.
        clipped_budgets: requests whose generation limit was lowered to fit the context.
        timed_out: requests whose generation was ended by the deadline.
        halved_batches: times that a batch did not fit into memory and was halved.
        not_finite: requests with a NaN or infinite log-likelihood, or steps of generation with NaN logits.
    """

    requests: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    computed_tokens: int = 0
    clipped_prompts: int = 0
    clipped_budgets: int = 0
    timed_out: int = 0
    halved_batches: int = 0
    not_finite: int = 0
