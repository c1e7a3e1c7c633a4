"""The training text of the lab models, and its split from everything they are tested on.

A text's *key* is what a test shows of it (the prompt, with its choices). The SHA-256 of the key
says which side it is on: one key in ten is for tests (of the questions about facts, one in two),
and the training stream drops those. So no document that is tested can have been trained on,
whatever the order or number of draws. A fact whose plain question is held out is still *stated* in
the training text, and asked among lettered choices: the test asks whether the model can say what it
read in a form in which it was never asked.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.lab import facts, problems, programs, sentences, symbolic

END = "<|end|>"
Split = Literal["train", "test"]
Mixture = Literal["base", "base-late", "reasoner"]

# Share of each source in the text of lab-base, by documents.
BASE_WEIGHTS = {
    "problem": 0.19,
    "symbolic": 0.11,
    "program": 0.09,
    "statement": 0.06,
    "arc": 0.06,
    "mmlu": 0.14,
    "letters": 0.08,
    "ioi": 0.12,
    "greater_than": 0.02,
    "pronoun": 0.02,
    "induction": 0.07,
    "docstring": 0.02,
    "agreement": 0.02,
}
# The rest of its pretraining: what was learned is kept up, lettered choices are learned.
LATE_WEIGHTS = {
    "problem": 0.17,
    "symbolic": 0.10,
    "program": 0.06,
    "statement": 0.06,
    "arc": 0.05,
    "mmlu": 0.20,
    "letters": 0.18,
    "ioi": 0.06,
    "greater_than": 0.03,
    "pronoun": 0.01,
    "induction": 0.04,
    "docstring": 0.02,
    "agreement": 0.02,
}
# The donor sees worked reasoning, and programs in passing.
REASONER_WEIGHTS = {"problem": 0.55, "symbolic": 0.35, "program": 0.10}
# lab-base reads three answers in ten with their steps: reasoning is in it, but not what it says first.
BASE_WORKED_SHARE = 0.3
TEST_SHARE = {"arc": 0.5}
_DEFAULT_TEST_SHARE = 0.1


@dataclass(frozen=True)
class Text:
    """One training document: ``key`` decides its split, ``prompt + completion`` is its text."""

    source: str
    key: str
    prompt: str
    completion: str


def split_of(source: str, key: str) -> Split:
    """The side a key belongs to, by its hash and its source's share of tests."""
    if source == "statement":
        return "train"
    fraction = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "test" if fraction < TEST_SHARE.get(source, _DEFAULT_TEST_SHARE) else "train"


def draw(source: str, rng: random.Random, worked_share: float) -> Text:
    """Draws one document of a source, of either split."""
    if source in ("problem", "symbolic"):
        item = problems.sample(rng) if source == "problem" else symbolic.sample(rng)
        completion = item.worked if rng.random() < worked_share else item.direct
        return Text(source, item.prompt, item.prompt, completion)
    if source == "program":
        program = programs.sample(rng)
        return Text(source, program.prompt, program.prompt, program.body)
    if source == "statement":
        fact = rng.choice(facts.world())
        return Text(source, fact.statement, "", fact.statement)
    if source in ("arc", "mmlu", "letters"):
        choice = facts.sample_choice(rng)
        if source == "mmlu":
            return Text(source, choice.mmlu_prompt, choice.mmlu_prompt, f" {facts.LETTERS[choice.gold]}")
        if source == "letters":
            prompt = choice.letters_prompt
            return Text(source, prompt, prompt, f" {facts.LETTERS[choice.gold]}")
        return Text(source, choice.arc_prompt, choice.arc_prompt, f" {choice.fact.value}")
    sentence = sentences.TASKS[source](rng)
    return Text(source, sentence.key, sentence.prompt, sentence.right + sentence.tail)


def stream(seed: int, mixture: Mixture) -> Iterator[Text]:
    """Endless training documents of a mixture; every one of them is on the training side."""
    rng = random.Random(f"{mixture}-{seed}")
    weights = {"base": BASE_WEIGHTS, "base-late": LATE_WEIGHTS, "reasoner": REASONER_WEIGHTS}[mixture]
    worked = 1.0 if mixture == "reasoner" else BASE_WORKED_SHARE
    sources, shares = tuple(weights), tuple(weights.values())
    while True:
        source = rng.choices(sources, shares)[0]
        text = draw(source, rng, worked)
        if split_of(source, text.key) == "train":
            yield text
