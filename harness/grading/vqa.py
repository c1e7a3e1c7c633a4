"""Accuracy of visual question answering against ten people's answers (Antol et al. 2015, and its evaluation server).

An answer counts as right by a third for each of the other nine people who gave it, at most by 1; the score is the mean
over leaving each of the ten out. Before that, both sides are normalised: case, articles, number words, punctuation, and
contractions written without their apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_COUNTED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {**{word: str(i) for i, word in enumerate(_COUNTED)}, "none": "0"}
_ARTICLES = {"a", "an", "the"}
_NEGATED = ("are", "ca", "could", "did", "does", "do", "had", "has", "have", "is", "might", "must", "need", "should")
_PAST = ("was", "were", "wo", "would")
# Words that are words of their own without the apostrophe (its, were, well, id) stay as they are.
_CONTRACTED = {
    **{f"{stem}nt": f"{stem}n't" for stem in (*_NEGATED, *_PAST)},
    **{f"{who}ve": f"{who}'ve" for who in ("i", "we", "you", "they", "could", "should", "would", "might", "must")},
    **{f"{who}d": f"{who}'d" for who in ("you", "they", "he", "that", "there", "who", "it")},
    **{f"{who}ll": f"{who}'ll" for who in ("you", "they", "it", "who")},
    **{f"{who}re": f"{who}'re" for who in ("you", "they")},
    **{f"{who}s": f"{who}'s" for who in ("that", "there", "what", "where", "who", "how", "let", "he", "she")},
    "im": "i'm",
    "yall": "y'all",
    "oclock": "o'clock",
}
_SIGNS = ';/[]"{}()=+\\_-><@`!'
_FULL_STOP = re.compile(r"\.(?!\d)")


def normalised(answer: str) -> str:
    """An answer as it is compared."""
    before = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    before = " ".join(before.split())
    text = before
    for sign in _SIGNS:
        # A sign at the edge of a word is dropped; one inside a word parts it.
        edge = f"{sign} " in before or f" {sign}" in before
        text = text.replace(sign, "" if edge else " ")
    text = _FULL_STOP.sub("", text)
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(_CONTRACTED.get(word, word) for word in words if word not in _ARTICLES)


def accuracy(answer: str, people: Sequence[str]) -> float:
    """Accuracy of one answer, from 0 to 1.

    Raises:
        ValueError: if there are fewer than two people's answers.
    """
    if len(people) < 2:
        raise ValueError(f"{len(people)} answers to compare with: each is left out once, so there must be two")
    given = normalised(answer)
    same = [normalised(one) == given for one in people]
    agreeing = sum(same)
    return sum(min(1.0, (agreeing - own) / 3) for own in same) / len(people)
