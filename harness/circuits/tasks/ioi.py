"""Indirect object identification: ``When Mary and John went to the store, John gave a drink to`` Mary.

Wang et al. 2023, "Interpretability in the wild", section 2 and appendix E.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.circuits.tasks import words
from harness.circuits.tasks.pairs import Drawing, Pair, fill, other_than
from harness.circuits.tasks.spelling import Spelling
from harness.lab import sentences
from harness.lab import words as lab_words

CORRUPTIONS = ("abc", "s2_io")


@dataclass(frozen=True)
class Wording:
    """Templates and words; {0} and {1} are the two names in their order, {s} the one that comes again."""

    templates: tuple[str, ...]
    names: tuple[str, ...]
    places: tuple[str, ...]
    objects: tuple[str, ...]


LITERATURE = Wording(
    (
        "Then, {0} and {1} went to the {place}. {s} gave a {object} to",
        "Then, {0} and {1} had a lot of fun at the {place}. {s} gave a {object} to",
        "Then, {0} and {1} were working at the {place}. {s} decided to give a {object} to",
        "Then, {0} and {1} were thinking about going to the {place}. {s} wanted to give a {object} to",
        "Then, {0} and {1} had a long argument, and afterwards {s} said to",
        "After {0} and {1} went to the {place}, {s} gave a {object} to",
        "When {0} and {1} got a {object} at the {place}, {s} decided to give it to",
        "When {0} and {1} got a {object} at the {place}, {s} decided to give the {object} to",
        "While {0} and {1} were working at the {place}, {s} gave a {object} to",
        "While {0} and {1} were commuting to the {place}, {s} gave a {object} to",
        "After the lunch, {0} and {1} went to the {place}. {s} gave a {object} to",
        "Afterwards, {0} and {1} went to the {place}. {s} gave a {object} to",
        "Then, {0} and {1} had a long argument. Afterwards {s} said to",
        "The {place} {0} and {1} went to had a {object}. {s} gave it to",
        "Friends {0} and {1} found a {object} at the {place}. {s} gave it to",
    ),
    words.NAMES,
    words.PLACES,
    words.OBJECTS,
)
LAB = Wording(sentences.IOI_TEMPLATES, lab_words.NAMES, lab_words.PLACES, lab_words.OBJECTS)
WORDINGS = {"literature": LITERATURE, "lab": LAB}


def prepare(wording: Wording, spelling: Spelling, corruption: str) -> Drawing:
    """IOI with the names that fit.

    Corruptions: ``abc`` replaces all three names by three others, each another (Wang et al.'s p_ABC); ``s2_io`` repeats
    the indirect object in place of the subject, so that the answer turns round.
    """
    names = spelling.choose("names", wording.names, 5)

    def draw(rng: random.Random) -> Pair:
        io, s = rng.sample(names, 2)
        order, index = rng.choice(("ABBA", "BABA")), rng.randrange(len(wording.templates))
        slots = {"place": rng.choice(wording.places), "object": rng.choice(wording.objects)}
        a, b = ("0", "1") if order == "ABBA" else ("1", "0")  # slots of IO and S
        clean, spans = fill(wording.templates[index], {**slots, a: io, b: s, "s": s})
        if corruption == "abc":
            x, y, z = other_than(rng, names, (io, s), 3)
            other = {a: x, b: y, "s": z}
        else:
            other = {a: io, b: s, "s": io}
        corrupt, _ = fill(wording.templates[index], {**slots, **other})
        places = {"IO": spans[a], "S1": spans[b], "S2": spans["s"]}
        return Pair(clean, corrupt, (f" {io}",), (f" {s}",), f"{order}-{index}", places, ("S1",))

    return Drawing(draw, {"names": f"{len(names)} of {len(wording.names)}"})
