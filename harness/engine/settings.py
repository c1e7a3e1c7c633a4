"""How much the engine takes on at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineSettings:
    """How much the engine takes on at a time.

    Attributes:
        batch_size: texts that are generated side by side; more where their prompts share tokens, as many as
            take no more memory.
        batch_tokens: tokens of a batch of prompts or of requests to score.
        cache_mb: memory for keys and values, in MiB.
        refill: share of the places of ``batch_size`` that must be free before the next prompts come in;
            1 waits until all are.
        deadline: seconds that one text may take to be generated; None for any.
        seed: seed of sampling.
    """

    batch_size: int = 32
    batch_tokens: int = 4096
    cache_mb: int = 8192
    refill: float = 0.25
    deadline: float | None = None
    seed: int = 1234
