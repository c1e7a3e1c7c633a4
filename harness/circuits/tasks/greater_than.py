"""Greater-than: ``The war lasted from the year 1732 to the year 17`` 33 to 99.

Hanna et al. 2023, "How does GPT-2 compute greater-than?", section 2.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.circuits.tasks import words
from harness.circuits.tasks.pairs import Drawing, Pair, fill
from harness.circuits.tasks.spelling import Spelling
from harness.lab import words as lab_words

CORRUPTIONS = ("01",)
TEMPLATE = "The {noun} lasted from the year {century}{start} to the year {again}"


@dataclass(frozen=True)
class Wording:
    """What lasted, and the centuries."""

    nouns: tuple[str, ...]
    centuries: range


LITERATURE = Wording(words.EVENTS, range(11, 19))
LAB = Wording(lab_words.EVENT_NOUNS, range(11, 20))
WORDINGS = {"literature": LITERATURE, "lab": LAB}


def prepare(wording: Wording, spelling: Spelling, corruption: str) -> Drawing:
    """Greater-than with the years that fit; the corrupt year ends in 01, so that nothing is excluded.

    A tokenizer that writes a year as its century and two digits is asked for the two digits, as in the paper: right are
    those above YY, wrong YY and those below. One that writes single digits is asked for the first of the two: right are
    digits above that of YY, wrong those below; its own digit is neither, as the second would decide.

    Raises:
        ValueError: if the tokenizer writes years neither way.
    """
    nouns = spelling.choose("nouns", wording.nouns, 3)
    years = [(c, y) for c in wording.centuries for y in range(2, 99)]
    pairs = [year for year in years if _two(spelling, *year)]
    if spelling.tokenizer is None or len(pairs) > 100:
        digits = False
        # The first and the last year of a century that fit are left out, as in the paper.
        edges = {f(year for year in pairs if year[0] == c) for c, _ in pairs for f in (min, max)}
        kept = [year for year in pairs if year not in edges]
        answers = [f"{y:02d}" for y in range(100)]
    elif all(len(spelling.tokens(str(d))) == 1 for d in range(10)) and len(spelling.tokens(" 1732")) in (4, 5):
        digits = True
        kept = [(c, y) for c, y in years if 10 <= y < 90]
        answers = [str(d) for d in range(10)]
    else:
        raise ValueError(
            "greater_than: this tokenizer writes years neither as a century and two digits nor digit by digit: "
            f"{spelling.tokenizer.tokenize(' 1732')}"
        )

    def draw(rng: random.Random) -> Pair:
        noun, (century, start) = rng.choice(nouns), rng.choice(kept)
        slots = {"noun": noun, "century": str(century), "again": str(century)}
        clean, spans = fill(TEMPLATE, {**slots, "start": f"{start:02d}"})
        corrupt, _ = fill(TEMPLATE, {**slots, "start": "01"})
        first = start // 10 if digits else start
        right, below = answers[first + 1 :], answers[:first]
        wrong = below if digits else [answers[first], *reversed(below)]
        begin = spans["start"][0]
        places = {
            "NOUN": spans["noun"],
            "XX1": spans["century"],
            "YY": (begin, begin + 1) if digits else spans["start"],
        }
        nearest = (right[0], below[-1])
        return Pair(clean, corrupt, tuple(right), tuple(wrong), "years", places, (), nearest, apart=True)

    counts = {"nouns": f"{len(nouns)} of {len(wording.nouns)}", "years": f"{len(kept)} of {len(years)}"}
    return Drawing(draw, {**counts, "asked for": "the next digit" if digits else "two digits, one token"})


def _two(spelling: Spelling, century: int, year: int) -> bool:
    """The year is two tokens: the century, and the two digits as they would follow it."""
    if spelling.tokenizer is None:
        return True
    tokens = spelling.tokens(f" {century}{year:02d}")
    return len(tokens) == 2 and tokens[:1] == spelling.tokens(f" {century}")
