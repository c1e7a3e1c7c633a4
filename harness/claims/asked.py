"""Which claims a results folder was asked for, and of which models: ``DIR/claims.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from harness.files import write_text

FILE, FORMAT = "claims.json", 1


@dataclass(frozen=True)
class AskedClaims:
    """What runs of a folder asked for.

    Attributes:
        claims: names, in that order.
        models: names of the models in tables.
    """

    claims: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


def keep_asked(folder: Path, claims: Sequence[str], models: Sequence[str]) -> None:
    """Adds claims and models to those that the folder's pages show."""
    (folder / ".locks").mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".locks" / f"{FILE}.lock"):
        there = asked_of(folder)
        both = ((there.claims, claims), (there.models, models))
        found = AskedClaims(*(tuple(dict.fromkeys([*a, *b])) for a, b in both))
        if found != there:
            content = {"format": FORMAT, "claims": found.claims, "models": found.models}
            write_text(folder / FILE, json.dumps(content, indent=1) + "\n")


def asked_of(folder: Path) -> AskedClaims:
    """What runs of this folder asked for; nothing where none did.

    Raises:
        ValueError: for a file of another kind.
    """
    path = folder / FILE
    if not path.is_file():
        return AskedClaims()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
        found = AskedClaims(tuple(content["claims"]), tuple(content["models"]))
        if not all(isinstance(name, str) for name in (*found.claims, *found.models)):
            raise TypeError("a name is no text")
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a list of claims: {error}. Delete it.") from error
