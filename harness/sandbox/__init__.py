"""Running code that a model wrote."""

from __future__ import annotations

from harness.sandbox.bubblewrap import BubblewrapSandbox, why_missing
from harness.sandbox.limits import Execution, Limits, Sandbox
from harness.sandbox.process import ProcessSandbox

__all__ = ["Execution", "Limits", "Sandbox", "open_sandbox", "why_missing"]


def open_sandbox(kind: str, limits: Limits, trusted: bool = False) -> Sandbox:
    """The sandbox of a kind.

    Args:
        kind: ``bubblewrap``, ``process``, or ``auto``.
        limits: what a program may use.
        trusted: the programs come from the lab's own models; with ``auto`` these may run under
            ``process`` (which warns) where bubblewrap is missing.

    Raises:
        ValueError: if bubblewrap is asked for (or needed) and missing, or the kind is unknown.
    """
    if kind == "auto":
        kind = "process" if trusted and why_missing() else "bubblewrap"
    if kind == "bubblewrap":
        return BubblewrapSandbox(limits)
    if kind == "process":
        return ProcessSandbox(limits)
    raise ValueError(f"sandbox.kind {kind!r}: expected auto, bubblewrap or process")
