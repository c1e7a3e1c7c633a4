r"""Symbolic problems with answers in ``\boxed{}``, in the form of MATH (types and levels 1 to 3)."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from harness.lab.problems import add_steps, multiply_steps


@dataclass(frozen=True)
class SymbolicProblem:
    """One problem; ``type`` and ``level`` are MATH's own columns."""

    type: str
    level: int
    problem: str
    steps: str
    answer: int

    @property
    def prompt(self) -> str:
        """The text a model reads, as MATH's prompt has it."""
        return f"Problem:\n{self.problem}\n\nSolution:"

    @property
    def worked(self) -> str:
        """Completion with its steps."""
        return f" {self.steps} The answer is $\\boxed{{{self.answer}}}$."

    @property
    def direct(self) -> str:
        """Completion that states the answer only."""
        return f" The answer is $\\boxed{{{self.answer}}}$."


def _algebra(rng: random.Random, level: int) -> SymbolicProblem:
    a, x = rng.randrange(2, 10), rng.randrange(2, 10 * level)
    b = rng.randrange(1, 10 * level)
    c = a * x + b
    steps = f"{c}-{b}={a * x}, {a * x}/{a}={x}."
    return SymbolicProblem("algebra", level, f"Solve ${a}x+{b}={c}$ for $x$.", steps, x)


def _prealgebra(rng: random.Random, level: int) -> SymbolicProblem:
    a, b, c = rng.randrange(10**level, 4 * 10**level), rng.randrange(2, 10), rng.randrange(2, 10)
    if level == 1:
        a = rng.randrange(1, 10)
    steps = f"{b}*{c}={b * c}. {add_steps(a, b * c)}"
    return SymbolicProblem("prealgebra", level, f"Compute ${a}+{b}\\cdot {c}$.", steps, a + b * c)


def _number_theory(rng: random.Random, level: int) -> SymbolicProblem:
    d = rng.randrange(3, 10)
    q, r = rng.randrange(2, 5 * level), rng.randrange(0, d)
    n = d * q + r
    steps = f"{d}*{q}={d * q}, {n}-{d * q}={r}."
    return SymbolicProblem("number_theory", level, f"What is the remainder when {n} is divided by {d}?", steps, r)


def _counting(rng: random.Random, level: int) -> SymbolicProblem:
    a = rng.randrange(2, 10) if level == 1 else rng.randrange(11, 40 * level - 40)
    b = rng.randrange(2, 10)
    problem = f"A cook has {a} soups and {b} cakes. How many meals of one soup and one cake are there?"
    return SymbolicProblem("counting_and_probability", level, problem, multiply_steps(a, b), a * b)


def _sequence(rng: random.Random, level: int) -> SymbolicProblem:
    start, step = rng.randrange(1, 10 * level), rng.randrange(2, 10 * level)
    t = [start + step * i for i in range(4)]
    steps = f"{t[1]}-{t[0]}={step}. {add_steps(t[3], step)}"
    problem = f"What is the next term of ${t[0]}, {t[1]}, {t[2]}, {t[3]}$?"
    return SymbolicProblem("intermediate_algebra", level, problem, steps, t[3] + step)


TYPES: dict[str, Callable[[random.Random, int], SymbolicProblem]] = {
    "algebra": _algebra,
    "prealgebra": _prealgebra,
    "number_theory": _number_theory,
    "counting_and_probability": _counting,
    "intermediate_algebra": _sequence,
}


def sample(rng: random.Random) -> SymbolicProblem:
    """Draws a problem of a type and level drawn uniformly."""
    return TYPES[rng.choice(tuple(TYPES))](rng, rng.randrange(1, 4))
