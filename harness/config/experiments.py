"""What an experiment adds to a run: a paper's numbers, and keys that are others on some models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING, OmegaConf

from harness.config.schema import RunConfig

SECTIONS = ("circuits", "crosscoder", "data", "levels", "results", "runtime", "sandbox")
_ABSENT = "<absent>"


@dataclass
class PublishedRow:
    """What a paper says of one variant.

    Attributes:
        variant: our name of it.
        label: the paper's name.
        scores: task -> score, from 0 to 1.
        tokens: average tokens of an answer.
        level: level of its answers, as the authors read them.
        also: other columns that the paper prints, by their heads.
        n: task -> documents, where this row's are others than the block's.
    """

    variant: str = MISSING
    label: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    tokens: float | None = None
    level: str | None = None
    also: dict[str, Any] = field(default_factory=dict)
    n: dict[str, int] = field(default_factory=dict)


@dataclass
class Published:
    """One table, or one model of a table, of a paper.

    Attributes:
        source: paper and table.
        model: our name of the base model.
        about: the models in words.
        n: task -> documents.
        baseline: row that the others are compared with.
        rows: the rows, in the paper's order.
        note: what a reader has to know of these numbers.
    """

    source: str = MISSING
    model: str = ""
    about: str = ""
    n: dict[str, int] = field(default_factory=dict)
    baseline: str = "base"
    rows: list[PublishedRow] = field(default_factory=list)
    note: str = ""


def settle_model(
    plain: dict[Any, Any], models: Sequence[str], typed: Sequence[str], same: Callable[[str, str], bool]
) -> dict[Any, Any]:
    """A run with the keys that its experiment has for the chosen model (``for_model``).

    A key is replaced whole, a section (``levels``, ``runtime``, ...) key by key; what was typed stays.

    Args:
        plain: the composed run.
        models: the chosen models.
        typed: the overrides of the command line.
        same: two names mean one model; raises a ValueError for a name that means none.

    Raises:
        ValueError: for a key that a run has not, a model that is none, or one among several models.
    """
    of_models = plain.get("for_model") or {}
    found = [name for name in of_models if sum(same(name, model) for model in models)]
    if not found:
        return plain
    if len(models) > 1:
        raise ValueError(
            f"for_model.{found[0]} holds for that model alone, and {', '.join(models)} are to be run: "
            "run them one by one"
        )
    own = of_models[found[0]]
    keys = {f.name for f in fields(RunConfig)}
    if not isinstance(own, Mapping) or set(own) - keys:
        wrong = ", ".join(sorted(set(own) - keys)) if isinstance(own, Mapping) else repr(own)
        raise ValueError(f"for_model.{found[0]}: unknown key {wrong}. Keys: {', '.join(sorted(keys))}")
    out = dict(plain)
    for key, value in own.items():
        out[key] = {**out[key], **value} if key in SECTIONS else value
    result, before = OmegaConf.create(out), OmegaConf.create(plain)
    for override in typed:
        key = override.lstrip("+~").partition("=")[0]
        if (value := OmegaConf.select(before, key, default=_ABSENT)) != _ABSENT:
            OmegaConf.update(result, key, value, force_add=True)
    settled = OmegaConf.to_container(result)
    assert isinstance(settled, dict)
    return settled
