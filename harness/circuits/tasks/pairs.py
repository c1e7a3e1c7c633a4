"""A clean prompt beside its corrupt twin, as text."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Span = tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two prompts that differ in what the task turns on, and the answers to the clean one.

    Attributes:
        clean: the prompt.
        corrupt: its twin, of as many tokens.
        right: right continuations, from the nearest on; each begins with the space that precedes it.
        wrong: wrong ones.
        template: what it was made of.
        places: name -> characters of the clean prompt; the last token of them is the place.
        following: names of ``places`` of which the next token is a place too, ``NAME+1``.
        edges: of a task with a cut-off: the nearest right continuation, and the nearest wrong one but its own.
        unfinished: a word to which each prompt goes on, clean and corrupt: all of its tokens but the last belong to the
            prompt, and the last is the answer (of the clean word) or wrong (of the corrupt one).
        apart: answers are the tokens they are by themselves, though prompt and answer together may be written otherwise
            (GPT-2 knows `` 1776`` as one token).
    """

    clean: str
    corrupt: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    template: str
    places: Mapping[str, Span] = field(default_factory=dict)
    following: tuple[str, ...] = ()
    edges: tuple[str, str] | None = None
    unfinished: tuple[str, str] | None = None
    apart: bool = False


@dataclass(frozen=True)
class Drawing:
    """A task ready to draw pairs for one tokenizer.

    Attributes:
        draw: draws one.
        counts: what of the words was kept, for people.
    """

    draw: Callable[[random.Random], Pair]
    counts: Mapping[str, str]


def fill(template: str, slots: Mapping[str, str]) -> tuple[str, dict[str, Span]]:
    """A template with its slots filled, and where each slot's text lies; a slot that comes twice has its last place."""
    text, spans = "", {}
    for literal, name, _, _ in string.Formatter().parse(template):
        text += literal
        if name is not None:
            spans[name] = (len(text), len(text) + len(slots[name]))
            text += slots[name]
    return text, spans


def other_than(rng: random.Random, words: tuple[str, ...], taken: tuple[str, ...], n: int) -> list[str]:
    """Words that are none of those taken, without repeats."""
    return rng.sample([w for w in words if w not in taken], n)
