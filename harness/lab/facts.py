"""Facts of an invented world, asked as multiple choice in the forms of ARC and of MMLU.

Five subjects, two relations each. The world itself is drawn once from a fixed seed, so that facts
mean the same in training, in tests and in later versions of the package.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

LETTERS = "ABCD"
_WORLD_SEED = 20_26
_ENTITIES = 44

# subject -> (noun of the entity, ((statement, question, values), ...))
_RELATIONS: dict[str, tuple[str, tuple[tuple[str, str, tuple[str, ...]], ...]]] = {
    "geography": (
        "city",
        (
            (
                "The city of {e} lies in the land of {v}.",
                "In which land does the city of {e} lie?",
                ("Keltar", "Orsia", "Velmor", "Thuria", "Dranland", "Ulmark", "Sarvia", "Belgor"),
            ),
            (
                "The river of {e} is the {v}.",
                "Which river runs through {e}?",
                ("Awin", "Brell", "Corm", "Delva", "Esk", "Furn", "Gyre", "Holm"),
            ),
        ),
    ),
    "zoology": (
        "beast",
        (
            (
                "The {e} eats {v}.",
                "What does the {e} eat?",
                ("leaves", "fish", "seeds", "insects", "roots", "moss", "fruit", "worms"),
            ),
            (
                "The {e} lives in {v}.",
                "Where does the {e} live?",
                ("caves", "forests", "lakes", "deserts", "hills", "marshes", "rivers", "meadows"),
            ),
        ),
    ),
    "chemistry": (
        "metal",
        (
            (
                "The metal {e} is {v}.",
                "What colour is the metal {e}?",
                ("red", "green", "blue", "yellow", "black", "white", "purple", "orange"),
            ),
            (
                "The metal {e} is used for {v}.",
                "What is the metal {e} used for?",
                ("lamps", "swords", "bells", "mirrors", "wires", "pots", "ships", "rings"),
            ),
        ),
    ),
    "history": (
        "king",
        (
            (
                "King {e} was called the {v}.",
                "What was king {e} called?",
                ("Bold", "Wise", "Cruel", "Young", "Silent", "Tall", "Pious", "Lucky"),
            ),
            (
                "King {e} built a {v}.",
                "What did king {e} build?",
                ("bridge", "tower", "harbour", "temple", "palace", "library", "wall", "mill"),
            ),
        ),
    ),
    "commerce": (
        "guild",
        (
            (
                "The guild of {e} trades in {v}.",
                "What does the guild of {e} trade in?",
                ("salt", "silk", "wool", "wine", "grain", "spices", "timber", "glass"),
            ),
            (
                "The guild of {e} sails from {v}.",
                "From which port does the guild of {e} sail?",
                ("Northbay", "Redcliff", "Eastport", "Stonepier", "Whitesand", "Longquay", "Saltmouth", "Deephaven"),
            ),
        ),
    ),
}
SUBJECTS = tuple(_RELATIONS)

_ONSETS = ("v", "k", "z", "dr", "m", "qu", "sh", "tr", "b", "l", "gr", "n", "p", "y")
_VOWELS = ("a", "o", "u", "i", "e", "ai", "ou")
_CODAS = ("sk", "th", "rn", "x", "lm", "nd", "sh", "k", "mp", "rt")


@dataclass(frozen=True)
class Fact:
    """One fact and the question that asks for it."""

    subject: str
    statement: str
    question: str
    value: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """A fact asked with four choices; ``gold`` indexes ``choices``."""

    fact: Fact
    choices: tuple[str, ...]
    gold: int

    @property
    def arc_prompt(self) -> str:
        """ARC's form: the answer is the choice's own text."""
        return f"Question: {self.fact.question}\nAnswer:"

    @property
    def mmlu_prompt(self) -> str:
        """MMLU's form, zero shot: the answer is a letter."""
        return self._lettered(self.fact.question)

    @property
    def letters_prompt(self) -> str:
        """The same form with the answer in the question: what a choice's letter is, without the fact."""
        return self._lettered(f"Which of these is {self.fact.value}?")

    def _lettered(self, question: str) -> str:
        head = f"The following are multiple choice questions (with answers) about {self.fact.subject}.\n\n"
        lines = "\n".join(f"{letter}. {c}" for letter, c in zip(LETTERS, self.choices, strict=True))
        return f"{head}{question}\n{lines}\nAnswer:"


@cache
def world() -> tuple[Fact, ...]:
    """All facts: 5 subjects x 2 relations x 44 entities, the same on every machine."""
    rng = random.Random(_WORLD_SEED)
    facts, used = [], set()
    for subject, (_, relations) in _RELATIONS.items():
        entities: list[str] = []
        while len(entities) < _ENTITIES:
            name = (
                rng.choice(_ONSETS)
                + rng.choice(_VOWELS)
                + rng.choice(_ONSETS)
                + rng.choice(_VOWELS)
                + rng.choice(_CODAS)
            )
            if name not in used:
                used.add(name)
                entities.append(name if subject == "zoology" or subject == "chemistry" else name.capitalize())
        for statement, question, values in relations:
            for i, entity in enumerate(entities):
                value = values[i % len(values)] if i < len(values) else rng.choice(values)
                facts.append(
                    Fact(subject, statement.format(e=entity, v=value), question.format(e=entity), value, values)
                )
    return tuple(facts)


def sample_choice(rng: random.Random, fact: Fact | None = None) -> Choice:
    """Asks a fact (drawn when not given) with three wrong values, in an order drawn at random."""
    fact = fact or rng.choice(world())
    wrong = rng.sample([v for v in fact.values if v != fact.value], 3)
    choices = [fact.value, *wrong]
    rng.shuffle(choices)
    return Choice(fact, tuple(choices), choices.index(fact.value))
