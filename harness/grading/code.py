"""Does a program pass its tests, and pass@k of several programs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import comb

from harness.sandbox import Sandbox


class Verdicts:
    """Whether programs pass their tests; the same program with the same tests runs once.

    Variants of one base write the same program again and again. What a limit ended is run again: a busy machine may
    have been the reason.

    Args:
        sandbox: runs them.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._known: dict[bytes, bool] = {}

    def of(self, programs: Sequence[str], tests: str) -> list[bool]:
        """A verdict for each program followed by its tests."""
        seen: dict[str, bool] = {}
        for program in programs:
            if program not in seen:
                seen[program] = self._of(program, tests)
        return [seen[program] for program in programs]

    def _of(self, program: str, tests: str) -> bool:
        text = f"{len(program)}|{program}|{tests}".encode("utf-8", "surrogatepass")
        key = hashlib.sha256(text).digest()
        if key not in self._known:
            execution = self._sandbox.run(program, tests)
            if execution.verdict not in ("passed", "failed"):
                return execution.passed
            self._known[key] = execution.passed
        return self._known[key]


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that at least one of k samples passes, unbiased from n (Chen et al. 2021, equation 1).

    ``1 - C(n - c, k) / C(n, k)``, computed in integers.

    Raises:
        ValueError: if ``k`` exceeds ``n`` or a number is out of range.
    """
    if not 0 < k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples and 0 to n correct; n={n}, correct={correct}")
    return 1.0 - comb(n - correct, k) / comb(n, k)
