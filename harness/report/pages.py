"""The pages of a results folder that methods wrote beside its table."""

from __future__ import annotations

from pathlib import Path

# Levels of answers, a paper's numbers, differences of weights, circuits, latents.
PATTERNS = ("experiment.md", "levels.md", "delta/*/delta.md", "circuits/*/circuits.md", "crosscoder/*/crosscoder.md")


def pages_of(folder: Path) -> list[Path]:
    """Those that lie there."""
    return [path for pattern in PATTERNS for path in sorted(folder.glob(pattern))]


def has_pages(folder: Path) -> bool:
    """There is something to show besides cells."""
    return bool(pages_of(folder))
