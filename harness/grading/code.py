"""Does a program pass its tests, and pass@k of several programs."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from harness.sandbox import Sandbox


def passes(programs: Sequence[str], tests: str, sandbox: Sandbox) -> list[bool]:
    """Runs each program followed by its tests; equal programs run once."""
    seen: dict[str, bool] = {}
    for program in programs:
        if program not in seen:
            seen[program] = sandbox.run(program, tests).passed
    return [seen[program] for program in programs]


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that at least one of k samples passes, unbiased from n (Chen et al. 2021, equation 1).

    ``1 - C(n - c, k) / C(n, k)``, computed in integers.

    Raises:
        ValueError: if ``k`` exceeds ``n`` or a number is out of range.
    """
    if not 0 < k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples and 0 to n correct; n={n}, correct={correct}")
    return 1.0 - comb(n - correct, k) / comb(n, k)
