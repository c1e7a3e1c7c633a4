"""The limits under which a model's program runs, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Verdict = Literal["passed", "failed", "timeout", "memory", "killed"]


@dataclass(frozen=True)
class Limits:
    """Limits of one program.

    Attributes:
        seconds: wall-clock time; HumanEval's reference uses 3, slow machines need a little more.
        memory_mb: address space; numpy alone maps some hundred MB.
        processes: processes its user may have; 0 sets no limit (of use where the user runs others).
        file_mb: largest file it may write.
        output_kb: how much of its output is kept; the rest is dropped, not buffered.
    """

    seconds: float = 5.0
    memory_mb: int = 1024
    processes: int = 64
    file_mb: int = 16
    output_kb: int = 64


@dataclass(frozen=True)
class Execution:
    """What became of a program.

    Attributes:
        verdict: ``passed`` if the program ran to its end and its tests raised nothing.
        exit_code: of the process; negative for a signal.
        output: the last kept bytes of standard output and error, decoded.
        seconds: wall-clock time used.
    """

    verdict: Verdict
    exit_code: int
    output: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Ran to its end without an error."""
        return self.verdict == "passed"


class Sandbox(Protocol):
    """Runs a Python program that is not trusted.

    ``run`` never raises for what the program does; it starts nothing that outlives the call.
    """

    name: str

    def run(self, program: str, tests: str = "") -> Execution:
        """Runs a program, then tests that call what it defines, and waits for their end or their limits.

        Program and tests run in Pythons of their own: a program can answer its tests, and not touch them.
        """
