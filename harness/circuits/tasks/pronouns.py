"""Gendered pronouns: ``So Mary is a really great friend, isn't`` she.

Mathwin et al. 2023, "Identifying a preliminary circuit for predicting gendered pronouns in GPT-2 small".
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.circuits.tasks import words
from harness.circuits.tasks.pairs import Drawing, Pair, fill
from harness.circuits.tasks.spelling import Spelling
from harness.lab import words as lab_words

CORRUPTIONS = ("opposite", "person")


@dataclass(frozen=True)
class Wording:
    """Sentences behind the name, and the names."""

    templates: tuple[str, ...]
    jobs: tuple[str, ...]
    female: tuple[str, ...]
    male: tuple[str, ...]


LITERATURE = Wording(
    (
        "{who} is a really great {job}, isn't",
        "{who} is such a good {job}, isn't",
        "{who} is a very kind {job}, isn't",
        "{who} is quite a famous {job}, isn't",
        "{who} is one of the best, isn't",
        "{who} is always on time, isn't",
        "{who} is really good at cooking, isn't",
        "{who} is the one who called, isn't",
    ),
    ("friend", "cook", "singer", "actor", "person", "student", "player", "writer"),
    words.FEMALE,
    words.MALE,
)
LAB = Wording(("{who} is a very good {job}, isn't",), lab_words.JOBS, lab_words.FEMALE, lab_words.MALE)
WORDINGS = {"literature": LITERATURE, "lab": LAB}


def prepare(wording: Wording, spelling: Spelling, corruption: str) -> Drawing:
    """Pronouns with the names that fit.

    Corruptions: ``opposite`` puts a name of the other gender; ``person`` puts ``That person``, which has none, in the
    place of ``So NAME`` (the original's).
    """
    chosen = spelling.choose("names", tuple(dict.fromkeys((*wording.female, *wording.male))), 6)
    genders = {" she": [n for n in chosen if n in wording.female], " he": [n for n in chosen if n in wording.male]}
    if not all(genders.values()):
        raise ValueError(f"pronouns: of the names that this tokenizer writes alike, {len(chosen)}, all have one gender")

    def draw(rng: random.Random) -> Pair:
        right, wrong = rng.sample((" she", " he"), 2)
        index = rng.randrange(len(wording.templates))
        template, job, name = "So " + wording.templates[index], rng.choice(wording.jobs), rng.choice(genders[right])
        clean, spans = fill(template, {"who": name, "job": job})
        if corruption == "person":
            corrupt, _ = fill(wording.templates[index], {"who": "That person", "job": job})
        else:
            corrupt, _ = fill(template, {"who": rng.choice(genders[wrong]), "job": job})
        return Pair(clean, corrupt, (right,), (wrong,), f"{right.strip()}-{index}", {"NAME": spans["who"]}, ("NAME",))

    names = tuple(dict.fromkeys((*wording.female, *wording.male)))
    return Drawing(draw, {"names": f"{len(chosen)} of {len(names)}"})
