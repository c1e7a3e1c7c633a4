"""Which kind of thinking a document of the lab needs: recall or one operation, or several in a chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

# The operations that the world's own recipes chain; all else in these columns takes one.
_CHAINED_KINDS = {"two_step"}
_CHAINED_TYPES = {"algebra", "prealgebra", "number_theory", "intermediate_algebra"}


def system_of(row: Mapping[str, Any]) -> Literal["system1", "system2"] | None:
    """System 1 for a fact or a single operation, System 2 for more; None where that cannot be said (programs).

    >>> system_of({"question": "...", "kind": "two_step"}), system_of({"answerKey": "A"})
    ('system2', 'system1')
    """
    if "kind" in row:
        return "system2" if row["kind"] in _CHAINED_KINDS else "system1"
    if "level" in row and "type" in row:
        return "system2" if row["type"] in _CHAINED_TYPES else "system1"
    return "system1" if "answerKey" in row or "choices" in row else None
