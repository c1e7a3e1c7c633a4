"""Arithmetic word problems with worked steps, in the form of GSM8K.

A worked answer writes the column sums out, so that each token needs little computation; a direct
answer states the number at once, which a model of this size cannot do for the longer kinds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.lab.words import CONTAINERS, ITEMS, NAMES


@dataclass(frozen=True)
class WordProblem:
    """One problem: its text, its worked steps and its integer answer."""

    kind: str
    question: str
    steps: str
    answer: int

    @property
    def prompt(self) -> str:
        """The text a model reads, as GSM8K's prompt has it."""
        return f"Question: {self.question}\nAnswer:"

    @property
    def worked(self) -> str:
        """Completion with its steps, ending in ``#### N``."""
        return f" {self.steps} #### {self.answer}"

    @property
    def direct(self) -> str:
        """Completion that states the answer only."""
        return f" #### {self.answer}"


def add_steps(a: int, b: int) -> str:
    """Column addition, least digit first.

    ``345+278: 5+8=13, 1+4+7=12, 1+3+2=6 so 623.``
    """
    columns, carry, x, y = [], 0, a, b
    while x or y:
        digits = ([carry] if carry else []) + ([x % 10] if x else []) + ([y % 10] if y else [])
        total = sum(digits)
        columns.append(f"{'+'.join(map(str, digits))}={total}")
        carry, x, y = total // 10, x // 10, y // 10
    return f"{a}+{b}: {', '.join(columns)} so {a + b}."


def subtract_steps(a: int, b: int) -> str:
    """Column subtraction with borrowing; a column that borrows is written ``15-8=7``."""
    assert a >= b, f"{a} - {b} is negative"
    columns, borrow, x, y = [], 0, a, b
    while x or y:
        top, low = x % 10, y % 10 + borrow
        borrow = int(top < low)
        top += 10 * borrow
        columns.append(f"{top}-{low}={top - low}")
        x, y = x // 10, y // 10
    return f"{a}-{b}: {', '.join(columns)} so {a - b}."


def multiply_steps(a: int, b: int) -> str:
    """A number of several digits times one digit, column by column."""
    assert 1 < b < 10, f"{b} is not one digit"
    columns, carry, x = [], 0, a
    while x:
        total = x % 10 * b + carry
        columns.append(f"{x % 10}*{b}{f'+{carry}' if carry else ''}={total}")
        carry, x = total // 10, x // 10
    return f"{a}*{b}: {', '.join(columns)} so {a * b}."


def _gain(rng: random.Random, kind: str, low: int, high: int, step: int = 1) -> WordProblem:
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    a, b = rng.randrange(low, high, step), rng.randrange(low, high, step)
    question = rng.choice(
        (
            f"{name} has {a} {item} and buys {b} more. How many {item} does {name} have now?",
            f"{name} found {a} {item} on Monday and {b} on Tuesday. How many {item} in total?",
        )
    )
    return WordProblem(kind, question, add_steps(a, b), a + b)


def _tens(rng: random.Random) -> WordProblem:
    return _gain(rng, "tens", 10, 60, 10)


def _add2(rng: random.Random) -> WordProblem:
    return _gain(rng, "add2", 11, 100)


def _add3(rng: random.Random) -> WordProblem:
    return _gain(rng, "add3", 101, 1000)


def _sub3(rng: random.Random) -> WordProblem:
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    b, a = sorted((rng.randrange(101, 1000), rng.randrange(101, 1000)))
    question = rng.choice(
        (
            f"{name} has {a} {item} and gives away {b}. How many {item} are left?",
            f"There were {a} {item} and {name} sold {b} of them. How many {item} remain?",
        )
    )
    return WordProblem("sub3", question, subtract_steps(a, b), a - b)


def _mul(rng: random.Random) -> WordProblem:
    name, item, box = rng.choice(NAMES), rng.choice(ITEMS), rng.choice(CONTAINERS)
    a, b = rng.randrange(12, 100), rng.randrange(3, 10)
    question = f"{name} has {b} {box} with {a} {item} in each. How many {item} in total?"
    return WordProblem("mul", question, multiply_steps(a, b), a * b)


def _two_step(rng: random.Random) -> WordProblem:
    name, item = rng.choice(NAMES), rng.choice(ITEMS)
    a, b = rng.randrange(11, 100), rng.randrange(11, 100)
    c = rng.randrange(11, a + b - 1)
    question = f"{name} has {a} {item}, buys {b} more and gives away {c}. How many {item} are left?"
    return WordProblem("two_step", question, f"{add_steps(a, b)} {subtract_steps(a + b, c)}", a + b - c)


KINDS: dict[str, Callable[[random.Random], WordProblem]] = {
    "tens": _tens,
    "add2": _add2,
    "add3": _add3,
    "sub3": _sub3,
    "mul": _mul,
    "two_step": _two_step,
}


def sample(rng: random.Random) -> WordProblem:
    """Draws a problem of a kind drawn uniformly."""
    return KINDS[rng.choice(tuple(KINDS))](rng)
