"""Checking what was composed or typed against a dataclass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

T = TypeVar("T")
_NO_LIST = re.compile(r"Invalid value assigned: \w+ is not a ListConfig, list or tuple")


def typed(kind: type[T], content: Any, what: str) -> T:
    """Content as a dataclass, its keys and types checked.

    Raises:
        ValueError: for an unknown key or a value of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind), content)
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        keys = ", ".join(f.name for f in fields(kind))  # type: ignore[arg-type]
        told, key = _NO_LIST.sub("expected a list", str(error).splitlines()[0].rstrip(".")), error.full_key
        where = f"{key}: " if key and key not in told else ""
        raise ValueError(f"{what}: {where}{told}. Keys: {keys}") from error


def typed_overrides(kind: type[T], overrides: Sequence[str]) -> T:
    """A dataclass with ``key=value`` overrides, for entry points that have a config of their own.

    Raises:
        ValueError: for text of another form, an unknown key or a value of the wrong type.
    """
    if wrong := [o for o in overrides if "=" not in o]:
        raise ValueError(f"{wrong[0]!r}: expected key=value; keys: {', '.join(f.name for f in fields(kind))}")  # type: ignore[arg-type]
    try:
        content = OmegaConf.from_dotlist(list(overrides))
    except (OmegaConfBaseException, YAMLError) as error:
        raise ValueError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    return typed(kind, content, "settings")
