"""Models by name as members of a line-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

from harness.config.compose import compose_model
from harness.crosscoder.lineup import Member
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
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    out = []
    for name in names:
        short, config = compose_model(name)
        ref = ModelRef(short, config.path, config.revision, dtype, chosen)
        out.append(Member(short, _resident(ref) if resident else _passing(ref)))
    return out


def _resident(ref: ModelRef) -> Callable[[], Base]:
    return lru_cache(maxsize=1)(lambda: load_base(ref))


def _passing(ref: ModelRef) -> Callable[[], Base]:
    return lambda: load_base(ref)
