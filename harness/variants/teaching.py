"""Training items divided by the vote of teachers, kept with every vote (LoRA-PAR, step 1)."""

from __future__ import annotations

import json
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config.par import SplitConfig, TeacherConfig
from harness.engine import AskedModel, EngineSettings, asked, open_engine
from harness.files import write_text
from harness.lora_par.roles import SYSTEMS, System, prompt_of, read
from harness.lora_par.votes import TIES, fleiss_kappa, settled
from harness.variants.adapter import read_json
from harness.variants.context import Context
from harness.variants.items import Item

logger = logging.getLogger(__name__)
WAYS = ("vote", "random", "truth")
VOTES, FIGURES = "votes.jsonl", "split.json"
_RULES: dict[str, Callable[[Item], int]] = {
    "numbers": lambda item: len(re.findall(r"\d+(?:\.\d+)?", item.question)),
    "steps": lambda item: item.target.count("="),
    "sentences": lambda item: len(re.findall(r"\.(?:\s|$)", item.target)),
    "words": lambda item: len(item.target.split()),
}


def split(items: Sequence[Item], config: SplitConfig, seed: int, context: Context) -> tuple[dict[str, System], Path]:
    """What system each item needs, and the folder where the votes lie.

    Args:
        items: the items.
        config: how they are divided.
        seed: of a random division.
        context: loads teachers, and keeps what they said: the same items are not voted on twice.

    Returns:
        Name of an item -> its system, without those that are dropped; the folder.

    Raises:
        ValueError: for settings that cannot work, a teacher that cannot be asked, or items whose truth is not known.
    """
    _check(config, items)
    key = {
        "items": [(item.name, item.question, item.target, item.truth) for item in items],
        "config": asdict(config),
        "seed": seed if config.by == "random" else None,
    }
    folder = context.folder_once("split", key, lambda made: _make(items, config, seed, context, made))
    return _read(folder, items), folder


def _read(folder: Path, items: Sequence[Item]) -> dict[str, System]:
    """What was settled of each item."""
    path = folder / VOTES
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        systems = {str(row["name"]): row["system"] for row in rows}
        if list(systems) != list(dict.fromkeys(item.name for item in items)) or set(systems.values()) - {
            *SYSTEMS,
            None,
        }:
            raise ValueError("its items, or what it says of them, are not those that were voted on")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error}. Delete {folder} to vote again.") from error
    return {name: system for name, system in systems.items() if system is not None}


def figures_of(folder: Path) -> dict[str, Any]:
    """What a division counted."""
    return read_json(folder, FIGURES)


def _check(config: SplitConfig, items: Sequence[Item]) -> None:
    if config.by not in WAYS:
        raise ValueError(f"split: by {config.by!r}: expected {', '.join(WAYS)}")
    if config.ties not in TIES:
        raise ValueError(f"split: ties {config.ties!r}: expected {', '.join(TIES)}")
    if not 0 < config.share < 1:
        raise ValueError(f"split: share {config.share}: a number between 0 and 1")
    if config.by == "truth" and (unknown := [item.name for item in items if item.truth is None]):
        raise ValueError(f"split: by=truth, and of {unknown[0]} it is not known (only the lab's word problems, facts, "
                         "and symbolic problems say it); use by=vote")  # fmt: skip
    if config.by == "vote" and not config.teachers:
        raise ValueError("split: no teachers to vote; e.g. variant.split.teachers=[{base: qwen2.5-7b-instruct}]")
    for teacher in config.teachers if config.by == "vote" else []:
        if sum(x is not None for x in (teacher.base, teacher.asked, teacher.rule)) != 1:
            raise ValueError(f"split: a teacher is one of base, asked and rule; got {asdict(teacher)}")
        if teacher.rule is not None and teacher.rule not in _RULES:
            raise ValueError(f"split: rule {teacher.rule!r}: expected {', '.join(_RULES)}")


def _make(items: Sequence[Item], config: SplitConfig, seed: int, context: Context, folder: Path) -> None:
    votes: list[list[System | None]] = [[] for _ in items]
    systems: list[System | None]
    if config.by == "vote":
        said = [_votes(items, teacher, config.role, context) for teacher in config.teachers]
        votes = [list(row) for row in zip(*said, strict=True)]
        systems = [settled(row, config.ties) for row in votes]
    elif config.by == "truth":
        systems = [SYSTEMS[item.truth == SYSTEMS[1]] for item in items]
    else:
        rng = random.Random(seed)
        systems = [SYSTEMS[rng.random() >= config.share] for _ in items]
    folder.mkdir()
    rows = [
        {"name": item.name, "system": system, "votes": row, "truth": item.truth}
        for item, system, row in zip(items, systems, votes, strict=True)
    ]
    write_text(folder / VOTES, "".join(json.dumps(row) + "\n" for row in rows))
    figures = counted(rows, [teacher_name(t) for t in config.teachers] if config.by == "vote" else [])
    logger.info("split: %s", figures)
    if unread := figures["unread_by_all"]:
        logger.warning(
            "split: %d of %d items could be read on by no teacher; split.ties=%s decides",
            unread,
            len(rows),
            config.ties,
        )
    write_text(folder / FIGURES, json.dumps({"by": config.by, "role": config.role, **figures}, indent=1) + "\n")


def counted(rows: Sequence[Mapping[str, Any]], teachers: Sequence[str]) -> dict[str, Any]:
    """What a division is described by: sizes, agreement, and accuracy where the truth is known.

    Args:
        rows: name, system, votes and truth of each item.
        teachers: names of those who voted, in the order of the votes.
    """
    sizes = Counter(row["system"] for row in rows)
    known = [row for row in rows if row["truth"] is not None]
    out: dict[str, Any] = {
        "items": len(rows),
        "system1": sizes[SYSTEMS[0]],
        "system2": sizes[SYSTEMS[1]],
        "dropped": sizes[None],
        "teachers": list(teachers),
        "kappa": fleiss_kappa([row["votes"] for row in rows]) if teachers else None,
        "unread": [sum(row["votes"][i] is None for row in rows) for i in range(len(teachers))],
        "tied": sum(row["votes"].count(SYSTEMS[0]) == row["votes"].count(SYSTEMS[1]) > 0 for row in rows),
        "unread_by_all": sum(not set(row["votes"]) - {None} for row in rows) if teachers else 0,
        "known": len(known),
        "right": sum(row["system"] == row["truth"] for row in known),
        "teachers_right": [sum(row["votes"][i] == row["truth"] for row in known) for i in range(len(teachers))],
    }
    return out


def teacher_name(teacher: TeacherConfig) -> str:
    """A teacher as it stands in tables."""
    if teacher.rule is not None:
        return f"rule: {teacher.rule} above {teacher.above:g}"
    return teacher.base or str(teacher.settings.get("model") or teacher.settings.get("pretrained") or teacher.asked)


def _votes(items: Sequence[Item], teacher: TeacherConfig, role: str | None, context: Context) -> list[System | None]:
    if teacher.rule is not None:
        return [SYSTEMS[_RULES[teacher.rule](item) > teacher.above] for item in items]
    texts = [prompt_of(item.question, item.target, role) for item in items]
    if teacher.asked is not None:
        answers = AskedModel(teacher.asked, teacher.settings, teacher.tokens, "split: teacher").answers(texts)
    else:
        if context.base is None or teacher.base is None:
            raise ValueError("split: no models to ask here")
        base = context.base(teacher.base)
        lm = open_engine(base.model, base.tokenizer, "tree", EngineSettings(seed=0))
        answers = asked(lm, texts, teacher.tokens, bool(base.tokenizer.chat_template))
    return [read(answer) for answer in answers]
