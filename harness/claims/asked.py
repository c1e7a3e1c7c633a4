"""Which claims a results folder was asked for: ``DIR/claims.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.files import write_text

FILE, FORMAT = "claims.json", 1


def keep_asked(folder: Path, names: Sequence[str]) -> None:
    """Adds claims to those that the folder's pages show."""
    there = asked_of(folder)
    if new := [name for name in names if name not in there]:
        content = {"format": FORMAT, "claims": [*there, *new]}
        write_text(folder / FILE, json.dumps(content, indent=1) + "\n")


def asked_of(folder: Path) -> list[str]:
    """The claims that runs of this folder asked for, in that order.

    Raises:
        ValueError: for a file of another kind.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT or not all(isinstance(name, str) for name in content["claims"]):
            raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
        return list(content["claims"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a list of claims: {error}. Delete it.") from error
