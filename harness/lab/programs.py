"""One-function Python completions with tests, in the form of HumanEval.

A program is one of a few families with its constants and names drawn at random. The tests are
computed from a reference value, never from the printed body, so that a wrong body cannot pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ARGS = ("x", "n", "a", "num", "value")
_LISTS = ("items", "xs", "values", "numbers")
_TEXTS = ("text", "s", "word", "line")


@dataclass(frozen=True)
class Program:
    """One completion problem.

    Attributes:
        family: which template it came from.
        prompt: signature and docstring; the completion follows directly.
        body: canonical completion, ending in a newline.
        entry_point: the function's name.
        cases: pairs of arguments and expected value.
    """

    family: str
    prompt: str
    body: str
    entry_point: str
    cases: tuple[tuple[tuple[Any, ...], Any], ...]

    @property
    def test(self) -> str:
        """HumanEval's ``check(candidate)`` as source text."""
        lines = [f"    assert candidate(*{args!r}) == {value!r}" for args, value in self.cases]
        return "def check(candidate):\n" + "\n".join(lines) + "\n"


def _program(
    family: str,
    name: str,
    args: str,
    doc: str,
    body: str,
    reference: Callable[..., Any],
    inputs: list[tuple[Any, ...]],
) -> Program:
    prompt = f'def {name}({args}):\n    """{doc}"""\n'
    cases = tuple((i, reference(*i)) for i in inputs)
    return Program(family, prompt, f"    return {body}\n", name, cases)


def _ints(rng: random.Random) -> list[int]:
    return [rng.randrange(-20, 60) for _ in range(rng.randrange(3, 7))]


def _number(rng: random.Random) -> Program:
    x, k = rng.choice(_ARGS), rng.randrange(2, 100)
    verb, doc, body, ref = rng.choice(
        (
            ("add", f"Return {x} plus {k}.", f"{x} + {k}", lambda v: v + k),
            ("sub", f"Return {x} minus {k}.", f"{x} - {k}", lambda v: v - k),
            ("mul", f"Return {x} times {k}.", f"{x} * {k}", lambda v: v * k),
            ("mod", f"Return {x} modulo {k}.", f"{x} % {k}", lambda v: v % k),
            ("above", f"Return True if {x} is above {k}.", f"{x} > {k}", lambda v: v > k),
            ("below", f"Return True if {x} is below {k}.", f"{x} < {k}", lambda v: v < k),
        )
    )
    inputs = [(rng.randrange(-50, 200),) for _ in range(3)] + [(k,), (k + 1,), (k - 1,)]
    return _program(verb, f"{verb}_{k}", x, doc, body, ref, inputs)


def _pair(rng: random.Random) -> Program:
    a, b = rng.sample(_ARGS, 2)
    k = rng.randrange(2, 100)
    verb, doc, body, ref = rng.choice(
        (
            (
                "larger",
                f"Return the larger of {a} and {b}, plus {k}.",
                f"max({a}, {b}) + {k}",
                lambda u, v: max(u, v) + k,
            ),
            (
                "smaller",
                f"Return the smaller of {a} and {b}, plus {k}.",
                f"min({a}, {b}) + {k}",
                lambda u, v: min(u, v) + k,
            ),
            ("total", f"Return the sum of {a} and {b}, times {k}.", f"({a} + {b}) * {k}", lambda u, v: (u + v) * k),
            ("gap", f"Return {a} minus {b}, times {k}.", f"({a} - {b}) * {k}", lambda u, v: (u - v) * k),
        )
    )
    inputs = [(rng.randrange(-50, 50), rng.randrange(-50, 50)) for _ in range(4)]
    return _program(verb, f"{verb}_{k}", f"{a}, {b}", doc, body, ref, inputs)


def _list(rng: random.Random) -> Program:
    xs, k = rng.choice(_LISTS), rng.randrange(2, 50)
    verb, doc, body, ref = rng.choice(
        (
            ("sum", f"Return the sum of {xs}, plus {k}.", f"sum({xs}) + {k}", lambda v: sum(v) + k),
            ("largest", f"Return the largest of {xs}, times {k}.", f"max({xs}) * {k}", lambda v: max(v) * k),
            ("keep", f"Return the {xs} above {k}.", f"[i for i in {xs} if i > {k}]", lambda v: [i for i in v if i > k]),
            ("drop", f"Return the {xs} below {k}.", f"[i for i in {xs} if i < {k}]", lambda v: [i for i in v if i < k]),
            ("scale", f"Return the {xs}, each times {k}.", f"[i * {k} for i in {xs}]", lambda v: [i * k for i in v]),
            ("shift", f"Return the {xs}, each plus {k}.", f"[i + {k} for i in {xs}]", lambda v: [i + k for i in v]),
            ("count", f"Return how often {k} is in {xs}.", f"{xs}.count({k})", lambda v: v.count(k)),
        )
    )
    inputs = [(_ints(rng),) for _ in range(3)] + [([k, k + 1, k, k - 1],)]
    return _program(verb, f"{verb}_{k}", xs, doc, body, ref, inputs)


def _text(rng: random.Random) -> Program:
    s, k = rng.choice(_TEXTS), rng.randrange(2, 30)
    verb, doc, body, ref = rng.choice(
        (
            ("repeat", f"Return {s} repeated {k} times.", f"{s} * {k}", lambda v: v * k),
            ("head", f"Return the first {k} characters of {s}.", f"{s}[:{k}]", lambda v: v[:k]),
            ("tail", f"Return {s} without its first {k} characters.", f"{s}[{k}:]", lambda v: v[k:]),
            ("longer", f"Return True if {s} is longer than {k}.", f"len({s}) > {k}", lambda v: len(v) > k),
            ("upper", f"Return {s} in upper case, repeated {k} times.", f"{s}.upper() * {k}", lambda v: v.upper() * k),
        )
    )
    letters = "abcdefgh"
    inputs = [("".join(rng.choice(letters) for _ in range(rng.randrange(1, 40))),) for _ in range(3)] + [("abC" * k,)]
    return _program(verb, f"{verb}_{k}", s, doc, body, ref, inputs)


FAMILIES: tuple[Callable[[random.Random], Program], ...] = (_number, _pair, _list, _text)


def sample(rng: random.Random) -> Program:
    """Draws a program of a family drawn uniformly."""
    return rng.choice(FAMILIES)(rng)
