"""Mathematical equality by math-verify, for answers in LaTeX."""

from __future__ import annotations

import logging

from math_verify import parse, verify

# math-verify logs each expression it cannot parse; a wrong answer is no news.
logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def equal(gold: str, answer: str) -> bool:
    r"""Whether the last answer in ``answer`` equals the one in ``gold``.

    Both are whole texts (a solution with ``\boxed{}``, a completion). What cannot be parsed is
    not equal; there are no guesses.
    """
    return bool(verify(gold=parse(gold), target=parse(answer)))
