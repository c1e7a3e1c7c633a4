"""What may stand in ``conf/claim/``: a statement of a paper, in a form that stored results can decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from omegaconf import MISSING

from harness.config.compose import compose_model, entry, known, names_of, unknown
from harness.config.typed import typed

# Measures of cells, by document.
OF_CELLS = ("score", "tokens", "level", "level_1", "level_2", "level_3", "level_4")
# Measures of what stands beside the cells of a run: the key of the run that makes it, and what is compared.
BESIDE = {
    "delta_l2": "delta",
    "delta_relative": "delta",
    "delta_bimodal": "delta",
    "circuit_kept": "circuits",
    "circuit_flops": "circuits",
    "latents_emerged": "crosscoder",
    "latents_ablated": "crosscoder",
    "relative_order": "crosscoder",
}
MEASURES = (*OF_CELLS, *BESIDE)
# Those that lie between 0 and 1.
SHARES = ("score", "level_1", "level_2", "level_3", "level_4", "delta_bimodal", "circuit_kept", "latents_emerged")
DIRECTIONS = ("above", "below", "not_below", "not_above", "alike")
TESTS = ("auto", "mcnemar", "permutation")
ALL = "all"


@dataclass
class ClaimConfig:
    """A statement: each variant against each other, on each task, in one direction. All of it must hold.

    Attributes:
        paper: who states it.
        where: section, table or figure.
        statement: in words.
        measure: what is compared, one of `MEASURES`: ``score`` of a cell, ``tokens`` of an answer, its ``level`` (1 to
            4) or the share of answers at one level; of the differences between two checkpoints the distance of a part
            (``delta_l2``, ``delta_relative``) or whether it has two modes; of circuits what they keep
            (``circuit_kept``) and what finding them costs (``circuit_flops``, relative); of crosscoders how many
            latents come into work (``latents_emerged``, against the null), what the loss of a class of latents costs
            (``latents_ablated``, against controls), and whether RelIE orders latents better than RelDec
            (``relative_order``).
        variants: variants of the base; parts for ``delta_*``, methods for ``circuit_*``, classes for
            ``latents_ablated``.
        against: what each of them is compared with.
        tasks: tasks; layers stand for documents in ``delta_*``, which has none.
        direction: ``above``, ``below``, ``not_below``, ``not_above`` or ``alike``.
        margin: in units of the measure: by how much it must exceed, or may fall short.
        test: test at a margin of 0, as in the tables.
        for_model: model -> keys that are others there.
        note: what a reader has to know.
    """

    paper: str = MISSING
    where: str = ""
    statement: str = MISSING
    measure: str = "score"
    variants: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=lambda: ["base"])
    tasks: list[str] = field(default_factory=list)
    direction: str = "above"
    margin: float = 0.0
    test: str = "auto"
    for_model: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim of one model, settled.

    Attributes:
        name: file of ``conf/claim/``.
        model: the model's name in tables.
        config: its keys, with those of the model.
    """

    name: str
    model: str
    config: ClaimConfig

    @property
    def of_cells(self) -> bool:
        """It is decided by cells (and their levels), not by what stands beside them."""
        return self.config.measure in OF_CELLS

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """Variant, what it is compared with, and task, of all that must hold."""
        c = self.config
        return [(v, a, t) for t in c.tasks or [""] for v in c.variants for a in c.against]


def claim_names(asked: Any) -> list[str]:
    """The claims that a run asks for.

    Args:
        asked: names, or ``all``; None for none.

    Raises:
        ValueError: for an unknown one.
    """
    names = names_of(asked)
    if names == [ALL]:
        return known("claim")
    for name in names:
        if name not in known("claim"):
            raise unknown("claim", name, [ALL, *known("claim")])
    return names


def compose_claim(name: str, model: str) -> Claim:
    """A claim by name, with the keys that it has for a model.

    Args:
        name: a file of ``conf/claim/``.
        model: the model's name in tables, with or without its ``@tag``.

    Raises:
        ValueError: for an unknown name or key, or settings that decide nothing.
    """
    if name not in known("claim"):
        raise unknown("claim", name, known("claim"))
    content = entry("claim", name)
    of_models = content.pop("for_model", None) or {}
    config = typed(ClaimConfig, content, f"conf/claim/{name}.yaml")
    keys = {f.name for f in fields(ClaimConfig)} - {"for_model"}
    for other, own in of_models.items():
        if not isinstance(own, Mapping) or set(own) - keys:
            told = f"for_model.{other} must hold keys among {', '.join(sorted(keys))}"
            raise ValueError(f"conf/claim/{name}.yaml: {told}")
        if same_model(str(other), model):
            config = typed(ClaimConfig, {**content, **own}, f"conf/claim/{name}.yaml, for_model.{other}")
    _check(name, config)
    return Claim(name, model, replace(config, for_model=dict(of_models)))


def compose_claims(asked: Any, models: Sequence[str]) -> list[Claim]:
    """Every claim that is asked for, for every model.

    Raises:
        ValueError: for unknown claims, and with what is wrong of every file that is.
    """
    found, problems = [], []
    for model in models:
        for name in claim_names(asked):
            try:
                found.append(compose_claim(name, model))
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ValueError("\n".join(dict.fromkeys(problems)))
    return found


def same_model(one: str, other: str) -> bool:
    """Two names mean the same weights; a tag of a sweep does not make another model."""
    other = other.partition("@")[0]
    if one == other:
        return True
    try:
        return compose_model(one)[1].path == compose_model(other)[1].path
    except ValueError:
        return False  # a folder's name in a table


def _check(name: str, config: ClaimConfig) -> None:
    c, wrong = config, []
    for key, value, possible in (
        ("measure", c.measure, MEASURES), ("direction", c.direction, DIRECTIONS), ("test", c.test, TESTS)
    ):  # fmt: skip
        if value not in possible:
            wrong.append(str(unknown(key, value, possible)))
    if c.margin < 0 or (c.direction == "alike" and c.margin == 0):
        wrong.append(f"margin {c.margin:g}: at least 0, and above 0 for alike")
    if c.measure in SHARES and c.margin >= 1:
        wrong.append(f"margin {c.margin:g}: of {c.measure}, a share, below 1 (0.05 is 5 points)")
    if not c.variants or not c.against:
        wrong.append("needs variants, and what they are compared with (against)")
    if both := sorted(set(c.variants) & set(c.against)):
        wrong.append(f"{both[0]} is compared with itself: it stands in variants and in against")
    if c.measure in OF_CELLS and not c.tasks:
        wrong.append(f"needs tasks to measure {c.measure} on")
    if wrong:
        raise ValueError("\n".join(f"conf/claim/{name}.yaml: {text}" for text in wrong))
