"""Sentences of the circuit tasks: IOI, greater-than, pronouns, induction, docstrings, agreement.

Each sampler returns a prompt, the right continuation and a wrong one, with a leading space on both
continuations, which is how the tokenizers of decoders see a word inside a sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.lab.words import (
    AGREEMENT_NOUNS,
    AGREEMENT_VERBS,
    DOC_WORDS,
    EVENT_NOUNS,
    FEMALE,
    INDUCTION_WORDS,
    JOBS,
    NAMES,
    OBJECTS,
    PARAMETERS,
    PLACES,
)

# Wang et al. 2023: two introductions of the names, then S gives to IO. {0} and {1} are the names
# in the order of the first clause; ABBA and BABA differ in which of them is the subject.
IOI_TEMPLATES = (
    "When {0} and {1} went to the {place}, {s} gave a {object} to",
    "Then, {0} and {1} went to the {place}. {s} gave a {object} to",
    "After {0} and {1} went to the {place}, {s} gave a {object} to",
    "While {0} and {1} were working at the {place}, {s} gave a {object} to",
    "Then, {0} and {1} had a long argument at the {place}. Afterwards {s} said to",
    "When {0} and {1} got a {object} at the {place}, {s} decided to give it to",
)


@dataclass(frozen=True)
class Sentence:
    """A prompt with its right and its wrong continuation.

    Attributes:
        task: which circuit task it belongs to.
        template: finer grouping (IOI: ``ABBA-2``), the cluster of the statistics.
        tail: what follows the right continuation in the training text.
    """

    task: str
    template: str
    prompt: str
    right: str
    wrong: str
    tail: str = ""

    @property
    def key(self) -> str:
        """What decides the side of the split: for induction the words themselves, wherever it stops."""
        if self.task != "induction":
            return self.prompt
        return " ".join(self.prompt.split()[: int(self.template)])


def ioi(rng: random.Random, names: tuple[str, ...] = NAMES) -> Sentence:
    """Indirect object identification, balanced over ABBA and BABA orders."""
    io, s = rng.sample(names, 2)
    order = rng.choice(("ABBA", "BABA"))
    index = rng.randrange(len(IOI_TEMPLATES))
    # ABBA: A=IO comes first and B=S repeats; BABA: B=S comes first.
    first = (io, s) if order == "ABBA" else (s, io)
    prompt = IOI_TEMPLATES[index].format(*first, s=s, place=rng.choice(PLACES), object=rng.choice(OBJECTS))
    return Sentence("ioi", f"{order}-{index}", prompt, f" {io}", f" {s}", ".")


def greater_than(rng: random.Random) -> Sentence:
    """``... from the year 1732 to the year 17``: the next digits must exceed 32 (Hanna et al. 2023)."""
    century, start = rng.randrange(11, 20), rng.randrange(2, 98)
    event = rng.choice(EVENT_NOUNS)
    right, wrong = rng.randrange(start + 1, 100), rng.randrange(0, start)
    prompt = f"The {event} lasted from the year {century}{start:02d} to the year {century}"
    return Sentence("greater_than", event, prompt, f"{right:02d}", f"{wrong:02d}", ".")


def pronoun(rng: random.Random) -> Sentence:
    """``So Mary is a very good doctor, isn't`` she (Mathwin et al.)."""
    name = rng.choice(NAMES)
    right, wrong = (" she", " he") if name in FEMALE else (" he", " she")
    job = rng.choice(JOBS)
    return Sentence("pronoun", right.strip(), f"So {name} is a very good {job}, isn't", right, wrong, "?")


def induction(rng: random.Random) -> Sentence:
    """A list of random words that starts again; the next word is the one that followed before."""
    words = rng.sample(INDUCTION_WORDS, rng.randrange(5, 10))
    at = rng.randrange(1, len(words))
    prompt = " ".join([*words, *words[:at]])
    wrong = rng.choice([w for w in words if w not in (words[at], words[at - 1])])
    rest = "".join(f" {w}" for w in words[at + 1 :])
    return Sentence("induction", str(len(words)), prompt, f" {words[at]}", f" {wrong}", rest)


def docstring(rng: random.Random) -> Sentence:
    """A docstring that lists parameters in order; the next is the third (Heimersheim & Janiak)."""
    names = rng.sample(PARAMETERS, 6)
    words = rng.sample(DOC_WORDS, 4)
    a, b, c = names[2:5]
    prompt = (
        f"def {names[0]}(self, {', '.join(names[1:])}):\n"
        f'    """{words[0]} {words[1]}\n\n'
        f"    :param {names[1]}: {words[2]}\n    :param {a}: {words[3]}\n    :param"
    )
    return Sentence("docstring", "3", prompt, f" {b}", f" {c}")


def agreement(rng: random.Random) -> Sentence:
    """Subject and verb across a distractor of the other or the same number."""
    (subject, other) = rng.sample(AGREEMENT_NOUNS, 2)
    verb = rng.choice(AGREEMENT_VERBS)
    number, distractor = rng.randrange(2), rng.randrange(2)
    link = rng.choice(("near", "behind", "next to"))
    prompt = f"The {subject[number]} {link} the {other[distractor]}"
    template = "same" if number == distractor else "differs"
    return Sentence("agreement", template, prompt, f" {verb[number]}", f" {verb[1 - number]}", " here.")


TASKS: dict[str, Callable[[random.Random], Sentence]] = {
    "ioi": ioi,
    "greater_than": greater_than,
    "pronoun": pronoun,
    "induction": induction,
    "docstring": docstring,
    "agreement": agreement,
}
