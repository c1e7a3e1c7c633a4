"""Models by name as members of a line-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from harness.crosscoder.lineup import Member
from harness.loading import ref_of
from harness.models import Base, ModelRef, load_base


def members(names: Sequence[str], device: str, dtype: str, resident: bool) -> list[Member]:
    """Models by name, folder, hub id or ``hub id@revision``.

    Args:
        names: which.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the weights.
        resident: keep them in memory once they are loaded.

    Raises:
        ValueError: for a name that is none of these.
    """
    out = []
    for name in names:
        ref = ref_of(name, device, dtype)
        out.append(Member(ref.name, _resident(ref) if resident else _passing(ref)))
    return out


def _resident(ref: ModelRef) -> Callable[[], Base]:
    return lru_cache(maxsize=1)(lambda: load_base(ref))


def _passing(ref: ModelRef) -> Callable[[], Base]:
    return lambda: load_base(ref)
