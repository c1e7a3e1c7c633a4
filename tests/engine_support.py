"""What the tests of the engine share: tiny models that speak the lab's tokens, and both backends over them."""

from __future__ import annotations

import dataclasses
from functools import cache

from conftest import tiny
from lm_eval.api.instance import Instance
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from harness.config.paths import LAB_WEIGHTS
from harness.engine import EngineSettings, ResidentLM, TreeLM


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """The lab's."""
    return AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")


def speaking(architecture: str, **changes: object) -> PreTrainedModel:
    """A tiny random model with the lab's vocabulary and a context of 64 tokens."""
    return tiny(architecture, vocab_size=len(tokenizer()), eos_token_id=tokenizer().eos_token_id, **changes)


def both(model: PreTrainedModel, batch_size: int = 3, **settings: object) -> tuple[ResidentLM, TreeLM]:
    """lm-eval's backend and the engine, over one model."""
    asked = dataclasses.replace(EngineSettings(batch_size=batch_size, batch_tokens=16), **settings)
    return ResidentLM(model, tokenizer(), batch_size), TreeLM(model, tokenizer(), asked)


def scoring(*pairs: tuple[str, str]) -> list[Instance]:
    """Requests for log-likelihoods."""
    return [Instance("loglikelihood", {}, pair, 0, ("task", i, 1)) for i, pair in enumerate(pairs)]


def texts(prompts: list[str], repeats: int = 1, **settings: object) -> list[Instance]:
    """Requests for texts, each repeated as lm-eval repeats: the same instance again."""
    wanted = {"until": [], "max_gen_toks": 12, "do_sample": False, **settings}
    made = [Instance("generate_until", {}, (p, dict(wanted)), 0, ("task", i, repeats)) for i, p in enumerate(prompts)]
    return [instance for instance in made for _ in range(repeats)]


HEADER = "Question: Paul found 50 nuts on Monday and 12 on Tuesday. How many nuts in total?\nAnswer: 62\n\n"
PROMPTS = [
    HEADER + "Question: Amy has 5 bags.\nAnswer:",
    HEADER + "Question: Amy has 5 boxes with 3 eggs.\nAnswer:",
    "Question: Tom ran.\nAnswer:",
    HEADER + "Question: Ben",
    "def f(x):\n    return",
    "A",
]


def word_beside(others: list[str]) -> tuple[str, int]:
    """A word of one token that none of these texts holds, and the token."""
    taken = {token for text in others for token in tokenizer().encode(text)}
    for token in range(300, len(tokenizer())):
        word = tokenizer().decode([token])
        if (
            token not in taken
            and word[:1] == " "
            and word.strip().isalpha()
            and tokenizer().encode(f"A{word}")[1:] == [token]
        ):
            return word, token
    raise AssertionError("no such word")
