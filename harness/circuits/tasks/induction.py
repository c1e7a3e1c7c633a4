"""Induction: what followed a word before follows it again.

Two forms. ``names``: a sentence names somebody twice whose name has two tokens, and the second token of the second
time is asked for (Andersen et al. 2025, "Accelerated path patching"). ``list``: random words that start again, as the
lab's models read them (Olsson et al. 2022, "In-context learning and induction heads", on repeated random tokens).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.circuits.tasks import words
from harness.circuits.tasks.pairs import Drawing, Pair, fill, other_than
from harness.circuits.tasks.spelling import Spelling
from harness.lab import words as lab_words

CORRUPTIONS = ("others",)


@dataclass(frozen=True)
class Wording:
    """Sentences with {name} at first and a second time at their end, or words of which lists are made."""

    templates: tuple[str, ...]
    words: tuple[str, ...]


LITERATURE = Wording(
    (
        "Yesterday {name} walked to the store, and everybody at the store was glad to see",
        "When {name} came into the room, all of us stood up and said hello to",
        "My neighbour {name} has a small garden, and on Sundays I often talk with",
        "The teacher asked {name} to read the letter, but nobody could hear",
        "After lunch {name} went back to the office, where a visitor was waiting for",
        "The doctor told {name} to rest, so we did not call",
        "Last year {name} bought a house by the river, and we all wanted to visit",
        "Our captain was {name} then, and every player on the team trusted",
        "At the station {name} met an old friend, who did not recognise",
        "The book that {name} wrote was read by everyone who knew",
        "In the morning {name} found the keys, and the manager thanked",
        "People say that {name} is the best cook here, so we always ask",
        "Nobody believed {name} at first, and only a few neighbours helped",
        "We saw {name} at the market, but there was no time to talk to",
        "The letter was from {name} again, although no one had written to",
        "Every evening {name} played the piano, and the children listened to",
        "The judge let {name} go home, since no witness had seen",
        "On the island {name} built a small boat, and a fisherman watched",
    ),
    words.RARE_NAMES,
)
LAB = Wording((), lab_words.INDUCTION_WORDS)
WORDINGS = {"literature": LITERATURE, "lab": LAB}


def prepare(wording: Wording, spelling: Spelling, corruption: str) -> Drawing:
    """Induction with the words that fit.

    The corruption ``others`` puts another word at each of the two places, so that nothing comes again.
    """
    return _names(wording, spelling) if wording.templates else _list(wording, spelling)


def _names(wording: Wording, spelling: Spelling) -> Drawing:
    names = spelling.choose("names", wording.words, 5, length=2)

    def draw(rng: random.Random) -> Pair:
        index, name = rng.randrange(len(wording.templates)), rng.choice(names)
        first, second = other_than(rng, names, (name,), 2)
        clean, spans = fill(wording.templates[index], {"name": name})
        corrupt, _ = fill(wording.templates[index], {"name": first})
        unfinished = (f" {name}", f" {second}")
        return Pair(
            clean, corrupt, unfinished[:1], unfinished[1:], f"names-{index}", {"NAME": spans["name"]}, (), None,
            unfinished,
        )  # fmt: skip

    return Drawing(draw, {"names of two tokens": f"{len(names)} of {len(wording.words)}"})


def _list(wording: Wording, spelling: Spelling) -> Drawing:
    known = spelling.choose("words", wording.words, 12)

    def draw(rng: random.Random) -> Pair:
        n = rng.randrange(5, 9)
        listed = rng.sample(known, n)
        at = rng.randrange(1, n)
        again = listed[:at]
        # Both places of the word that has come last become other words: nothing follows it any more.
        first, second = other_than(rng, known, tuple(listed), 2)
        clean = " ".join([*listed, *again])
        corrupt = " ".join([*listed[: at - 1], first, *listed[at:], *again[:-1], second])
        wrong = rng.choice([w for w in listed if w not in (listed[at], again[-1])])

        def span(i: int) -> tuple[int, int]:
            start = len(" ".join(listed[:i])) + (1 if i else 0)
            return start, start + len(listed[i])

        places = {"FIRST": span(at - 1)}
        return Pair(clean, corrupt, (f" {listed[at]}",), (f" {wrong}",), f"list-{n}-{at}", places, ("FIRST",))

    return Drawing(draw, {"words": f"{len(known)} of {len(set(wording.words))}"})
