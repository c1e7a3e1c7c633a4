"""The labelled set: answers whose level is known from how they were made."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.stethoscope.levels.features import Asked

FEWEST_WORDS = 3  # two words in another order are no nonsense yet: there the letters change places


@dataclass(frozen=True)
class Answer:
    """A stored answer.

    Attributes:
        document: key of its document.
        text: the answer.
        right: the task's scorer calls it right.
    """

    document: str
    text: str
    right: bool


@dataclass(frozen=True)
class Example:
    """An answer of known level.

    Attributes:
        kind: how it was made: ``right``, ``wrong``, ``swapped``, ``elsewhere``, ``shuffled`` or a destroyed variant.
        level: the level that follows from that, 1 to 4.
        source: the document that its text comes from.
        asked: the answer and the prompt it stands beside.
    """

    kind: str
    level: int
    source: str
    asked: Asked


def halves(documents: Sequence[str], seed: int) -> tuple[set[str], set[str]]:
    """Documents shared out at random: those that set the thresholds, and those that test them."""
    mixed = random.Random(seed).sample(sorted(documents), len(documents))
    return set(mixed[: len(mixed) // 2]), set(mixed[len(mixed) // 2 :])


def labelled_set(
    base: Sequence[Answer],
    destroyed: Mapping[str, Sequence[Answer]],
    elsewhere: Sequence[Asked],
    prompts: Mapping[str, str],
    seed: int,
) -> list[Example]:
    """Examples from the base model's answers and those of destroyed variants.

    Args:
        base: the base model's answers, of one half.
        destroyed: variant -> its answers to the same documents.
        elsewhere: the base model's answers to other tasks, with their own prompts.
        prompts: document -> prompt.
        seed: draws partners and orders.
    """
    rng = random.Random(seed)
    written = [a for a in base if a.text.strip()]
    out = []
    for answer in written:
        prompt, key = prompts[answer.document], answer.document
        kind, level = ("right", 4) if answer.right else ("wrong", 3)
        out.append(Example(kind, level, key, Asked(prompt, answer.text)))
        partners = [prompts[a.document] for a in written if prompts[a.document] != prompt]
        if partners:
            out.append(Example("swapped", 2, key, Asked(rng.choice(partners), answer.text, origin=prompt)))
        mixed = shuffled(answer.text, rng)
        if mixed is not None:
            out.append(Example("shuffled", 1, key, Asked(prompt, mixed)))
    foreign = [item for item in elsewhere if item.text.strip()]
    for item, answer in zip(rng.sample(foreign, len(foreign)), base, strict=False):
        asked = Asked(prompts[answer.document], item.text, origin=item.prompt)
        out.append(Example("elsewhere", 2, f"elsewhere {item.prompt}", asked))
    for name, answers in destroyed.items():
        out += [Example(name, 1, a.document, Asked(prompts[a.document], a.text)) for a in answers]
    return out


def shuffled(text: str, rng: random.Random) -> str | None:
    """The words of a text in another order, its letters where it has few words; None if there is no other order."""
    words = text.split()
    pieces, joint = (words, " ") if len(words) >= FEWEST_WORDS else (list(text.strip()), "")
    if len(set(pieces)) < 2:
        return None
    while (mixed := rng.sample(pieces, len(pieces))) == pieces:
        pass
    return (" " if text[:1].isspace() else "") + joint.join(mixed)
