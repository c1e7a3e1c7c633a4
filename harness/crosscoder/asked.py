"""From a config's tasks to items of a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from harness.config.crosscoder import PairsConfig
from harness.crosscoder.items import Items, encode, lab_pairs
from harness.crosscoder.pair_files import ENDINGS, read_pairs
from harness.crosscoder.tokens import sinks_of
from harness.lab import sentences

LAB = "lab:"
ENOUGH = 100_000  # pairs drawn of a lab task that is not limited: more than any has


def items_of(task: str, config: PairsConfig, tokenizer: PreTrainedTokenizerBase, first: bool) -> Items:
    """The items of one task.

    Args:
        task: ``lab:NAME``, a file or a folder.
        config: which of its pairs.
        tokenizer: of the models.
        first: leave out the first position.

    Raises:
        ValueError: for a task that is not there, kinds of pairs it does not have, or pairs that do not fit.
    """
    left_out: dict[str, int] = {}
    if task.startswith(LAB):
        pairs = lab_pairs(task.removeprefix(LAB), config.most or ENOUGH, config.seed)
    elif Path(task).exists():
        pairs, left_out = read_pairs(Path(task))
    else:
        raise ValueError(f"pairs.tasks: {task!r} is no file or folder; the lab's own are lab:agreement, lab:ioi, ...")
    if config.groups:
        there = sorted({p.group for p in pairs})
        if strange := [g for g in config.groups if g not in there]:
            raise ValueError(f"pairs.groups: {task} has no {strange[0]!r}; it has {', '.join(there)}")
        pairs = [p for p in pairs if p.group in config.groups]
    items = encode(pairs, tokenizer, sinks_of(tokenizer), first, config.most, config.seed)
    return replace(items, left_out={**left_out, **items.left_out})


def check_tasks(tasks: Sequence[str]) -> None:
    """Checks names before anything is loaded.

    Raises:
        ValueError: for a task of the lab that it has not, or a file or folder that is not there.
    """
    folders = [task_folder(task) for task in tasks]
    if twice := next((t for t, f in zip(tasks, folders, strict=True) if folders.count(f) > 1), None):
        raise ValueError(f"pairs.tasks: {twice} and another would share the folder {task_folder(twice)}; rename one")
    for task in tasks:
        name = task.removeprefix(LAB)
        if task.startswith(LAB) and name not in sentences.TASKS:
            raise ValueError(
                f"pairs.tasks: the lab has no {name!r}; known: {', '.join(LAB + t for t in sentences.TASKS)}"
            )
        if not task.startswith(LAB) and not Path(task).exists():
            raise ValueError(
                f"pairs.tasks: {task!r} is no file or folder of minimal pairs (BLiMP, CLAMS, MultiBLiMP, ...); the "
                f"lab's own are {', '.join(LAB + t for t in sentences.TASKS)}"
            )


def task_folder(task: str) -> str:
    """Name of a task's folder: its own, without the endings of a file."""
    name = Path(task.replace(":", "-")).name.removesuffix(".gz")
    return next((name.removesuffix(ending) for ending in ENDINGS if name.endswith(ending)), name)


def skips_first(setting: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the first position of each row is left out.

    Whatever stands first gathers attention and has an outlier norm: a token that the tokenizer puts there is left out
    by its id, else it is the first of the text.

    Raises:
        ValueError: for an unknown setting.
    """
    if setting not in ("auto", "true", "false"):
        raise ValueError(f"text.skip_first={setting!r}: expected auto, true or false")
    if setting != "auto":
        return setting == "true"
    ids = list(tokenizer("a")["input_ids"])
    return not ids or ids[0] not in sinks_of(tokenizer).tolist()
