"""Docstrings: the argument that is documented next.

Heimersheim & Janiak 2023, "A circuit for Python docstrings in a 4-layer attention-only transformer".
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harness.circuits.tasks import words
from harness.circuits.tasks.pairs import Drawing, Pair, Span, other_than
from harness.circuits.tasks.spelling import Spelling
from harness.lab import words as lab_words

CORRUPTIONS = ("random_random", "random_answer", "random_def", "random_doc")
MATCHED = 3  # the arguments A, B and C, of which C is asked for


@dataclass(frozen=True)
class Wording:
    """Words, and how many of each.

    Attributes:
        arguments: names of arguments.
        nouns: words of descriptions.
        functions: names of functions; None draws them from the arguments.
        before: arguments before A.
        after: arguments behind C.
        summary: words of the docstring's first line.
        described: words behind each argument.
    """

    arguments: tuple[str, ...]
    nouns: tuple[str, ...]
    functions: tuple[str, ...] | None
    before: int
    after: int
    summary: int
    described: int


LITERATURE = Wording(words.ARGUMENTS, words.NOUNS, words.FUNCTIONS, 2, 1, 3, 2)
LAB = Wording(lab_words.PARAMETERS, lab_words.DOC_WORDS, None, 0, 2, 2, 1)
WORDINGS = {"literature": LITERATURE, "lab": LAB}


def prepare(wording: Wording, spelling: Spelling, corruption: str) -> Drawing:
    """Docstrings with the names that fit.

    Corruptions: names drawn anew for C in the definition (``random_answer``), for A, B and C there (``random_def``),
    for A and B in the docstring (``random_doc``), or in both (``random_random``). Which one is chosen decides which
    heads can be seen: where the answer itself is replaced, heads that only find it again look idle.
    """
    size = wording.before + MATCHED + wording.after
    names = spelling.choose("arguments", wording.arguments, 2 * size)
    nouns = spelling.choose("words", wording.nouns, wording.summary + MATCHED * wording.described)

    def draw(rng: random.Random) -> Pair:
        drawn = rng.sample(names, size + (0 if wording.functions else 1))
        function = rng.choice(wording.functions) if wording.functions else drawn.pop()
        first = wording.before
        a, b, c = drawn[first : first + MATCHED]
        said = rng.sample(nouns, wording.summary + (MATCHED - 1) * wording.described)
        fresh = other_than(rng, names, tuple(drawn), MATCHED + 2)
        defined, documented = list(drawn), [a, b]
        if corruption == "random_answer":
            defined[first + 2] = fresh[0]
        if corruption in ("random_def", "random_random"):
            defined[first : first + MATCHED] = fresh[:MATCHED]
        if corruption in ("random_doc", "random_random"):
            documented = fresh[MATCHED:]
        clean, spans = _text(wording, function, drawn, [a, b], said)
        corrupt, _ = _text(wording, function, defined, documented, said)
        wrong = dict.fromkeys(n for n in (*drawn, *defined, *documented) if n != c)
        return Pair(
            clean,
            corrupt,
            (f" {c}",),
            tuple(f" {n}" for n in wrong),
            "rest",
            spans,
            ("A_def", "B_def", "A_doc", "B_doc"),
        )

    counts = {
        "arguments": f"{len(names)} of {len(wording.arguments)}",
        "words": f"{len(nouns)} of {len(wording.nouns)}",
    }
    return Drawing(draw, counts)


def _text(
    wording: Wording, function: str, defined: list[str], documented: list[str], said: list[str]
) -> tuple[str, dict[str, Span]]:
    """The prompt up to the last ``:param``, and where A, B and C stand in it."""
    spans: dict[str, Span] = {}
    text = f"def {function}(self"
    for i, name in enumerate(defined):
        text += ", "
        if 0 <= (j := i - wording.before) < MATCHED:
            spans[f"{'ABC'[j]}_def"] = (len(text), len(text) + len(name))
        text += name
    indent, summary = "    ", said[: wording.summary]
    text += f'):\n{indent}"""{" ".join(summary)}\n'
    for i, name in enumerate(documented):
        start = wording.summary + i * wording.described
        text += f"\n{indent}:param "
        spans[f"{'AB'[i]}_doc"] = (len(text), len(text) + len(name))
        text += f"{name}: {' '.join(said[start : start + wording.described])}"
    return text + f"\n{indent}:param", spans
