"""How the next token is chosen: what transformers' ``generate`` would do, one document at a time.

A sampled text depends on its document, its number among the document's samples and the seed, and on
nothing else: each text draws from its own stream, so neither the batch it runs in nor the order of
requests changes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    MinPLogitsWarper,
    PreTrainedModel,
    TopPLogitsWarper,
)

from harness.engine.vocabulary import largest

# Settings of `generate` that leave the choice of tokens alone, or that the engine sees to itself.
_ELSEWHERE = {
    "max_length", "max_new_tokens", "use_cache", "cache_implementation", "cache_config", "max_cache_len",
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "transformers_version", "until",
    "max_gen_toks", "max_tokens", "max_completion_tokens", "compile_config", "disable_compile",
    "continuous_batching_config", "low_memory", "prefill_chunk_size", "length_penalty", "early_stopping",
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "assistant_early_exit", "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight",
    "max_matching_ngram_size",
}  # fmt: skip
# Of these, what a request may name all the same; the rest counts only in the model's own settings.
_ASKED = {"until", "max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens", "use_cache"}
_CHOICES = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token; the fields are those of `GenerationConfig`."""

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float | None = None
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, model: PreTrainedModel, request: Mapping[str, Any]) -> tuple[Sampling | None, list[str]]:
        """Reads what ``generate`` would be told: the request, then the model's own settings, then defaults.

        Args:
            model: its ``generation_config`` counts where the request is silent.
            request: lm-eval's generation settings.

        Returns:
            The sampling, or None and the names of the settings that the engine does not know.
        """
        defaults = GenerationConfig._get_default_generation_params()
        own = model.generation_config.to_dict() if model.generation_config else {}
        asked = {k: v for k, v in request.items() if v is not None}
        settings = {**defaults, **{k: v for k, v in own.items() if v is not None}, **asked}
        temperature = float(asked.get("temperature") or 0.0)
        # lm-eval: no word on sampling means greedy unless a temperature is given.
        settings["do_sample"] = bool(asked.get("do_sample", temperature > 0.0))
        unknown = [
            key
            for key, value in settings.items()
            if key not in (_ASKED if key in asked else _ELSEWHERE) and key not in _CHOICES and not key.startswith("_")
            and value is not None and value != defaults.get(key) and value is not False
        ]  # fmt: skip
        if unknown:
            return None, sorted(unknown)
        penalty = float(settings["repetition_penalty"])
        if not settings["do_sample"]:
            return cls(repetition_penalty=penalty), []
        if float(settings["temperature"]) <= 0.0:
            raise ValueError("do_sample=true needs a temperature above 0; leave do_sample out for greedy decoding")
        chosen = {key: settings.get(key) for key in ("temperature", "top_k", "top_p", "min_p")}
        return cls(do_sample=True, repetition_penalty=penalty, **chosen), []  # type: ignore[arg-type]

    def choose(self, logits: Tensor, uniforms: Tensor | None, seen: Tensor | None) -> Tensor:
        """The next token of each row.

        Args:
            logits: ``[rows, vocabulary]``.
            uniforms: a number in [0, 1) for each row, ``[rows]``; None for greedy decoding.
            seen: tokens that prompt and text hold, ``[rows, vocabulary]``; for the repetition penalty.

        Returns:
            Token ids, ``[rows]``.
        """
        scores = logits.float()
        if self.repetition_penalty != 1.0:
            assert seen is not None
            punished = torch.where(scores < 0, scores * self.repetition_penalty, scores / self.repetition_penalty)
            scores = torch.where(seen, punished, scores)
        if not self.do_sample:
            return scores.argmax(dim=-1)
        assert uniforms is not None
        kept = None
        if 0 < self.top_k < scores.shape[-1]:
            # Everything after concerns these alone. transformers divides by the temperature first, which
            # changes no order.
            scores, kept = largest(scores, self.top_k)
        scores = scores / self.temperature
        for warper in self._warpers():
            scores = warper(None, scores)
        mass = scores.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
        # Inverse of the distribution function; the last token with mass takes what rounding leaves over.
        points = uniforms.to(mass)[:, None] * mass[:, -1:]
        chosen = torch.searchsorted(mass, points, right=True).clamp(max=mass.shape[-1] - 1)
        return (chosen if kept is None else kept.gather(-1, chosen))[:, 0]

    def _warpers(self) -> list[Any]:
        """What follows temperature and top-k in the order of transformers."""
        out: list[Any] = []
        if self.top_p < 1.0:
            out.append(TopPLogitsWarper(self.top_p))
        if self.min_p is not None:
            out.append(MinPLogitsWarper(self.min_p))
        return out


def stream(seed: int, document: str, sample: int, length: int) -> Tensor:
    """The random numbers of one text.

    Args:
        seed: seed of the run.
        document: what names the document, its prompt included.
        sample: which of the document's samples it is.
        length: how many numbers.

    Returns:
        fp64 ``[length]`` in [0, 1).
    """
    digest = hashlib.blake2b(f"{seed}|{sample}|{document}".encode("utf-8", "surrogatepass"), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
    return torch.rand(length, generator=generator, dtype=torch.float64)
