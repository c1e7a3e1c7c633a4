"""Ready prompts from a file: JSON or JSON lines, gzipped or not.

A list of objects (or one under ``prompts``, as auto-circuit writes it), each with

- ``clean`` (or ``clean_prefix``): the prompt,
- ``corrupt`` (``corrupted``, ``patch_prefix``): its twin of as many tokens,
- ``answers`` (``answer``, ``clean_answer``): right continuations, a text or a list,
- ``wrong_answers`` (``wrong_answer``, ``patch_answer``): wrong ones,
- ``template`` (``case``), if there are groups.
"""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.circuits.tasks.encode import Encoder, UnfitError, stack
from harness.circuits.tasks.pairs import Pair
from harness.circuits.tasks.sets import TaskSets, cut
from harness.files import read_text

logger = logging.getLogger(__name__)
_NAMES = {
    "clean": ("clean", "clean_prefix"),
    "corrupt": ("corrupt", "corrupted", "patch_prefix"),
    "right": ("answers", "answer", "clean_answer"),
    "wrong": ("wrong_answers", "wrong_answer", "patch_answer"),
}


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file.

    Raises:
        ValueError: for a file that cannot be read, or an entry that is no pair, with its number.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error
    except ValueError:
        content = [_line(line, f"{path}: line {n}") for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if isinstance(content, dict):
        content = content.get("prompts", [content])
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path} holds no list of prompts")
    return [_pair(entry, f"{path}: prompt {number}") for number, entry in enumerate(content, 1)]


def file_sets(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    find: int = 100,
    verify: int = 200,
    means: int = 400,
    seed: int = 0,
    max_length: int | None = None,
) -> TaskSets:
    """The three sets of a file's prompts, shuffled; sizes as in `draw_sets`, smaller in proportion to what there is.

    Raises:
        ValueError: for a file that cannot be used.
    """
    given = read_pairs(path)
    # The sets share no clean prompt, so each is used once, with one corrupt twin and one answer.
    pairs = list({pair.clean: pair for pair in reversed(given)}.values())
    random.Random(seed).shuffle(pairs)
    encoder = Encoder(tokenizer, max_length)
    kept, rejected = [], Counter[str]()
    for pair in pairs:
        try:
            kept.append(encoder.encode(pair))
        except UnfitError as error:
            rejected[str(error)] += 1
    counts = {"prompts": f"{len(kept)} of {len(given)}"}
    if repeated := len(given) - len(pairs):
        counts["left out as their clean prompt comes before"] = str(repeated)
    if rejected:
        counts["prompts that did not fit"] = "; ".join(f"{n}: {why}" for why, n in rejected.most_common())
    wanted = find + verify + means
    sizes = [min(size, len(kept) * size // wanted) for size in (find, verify, means)]
    if min(sizes) < 2:
        raise ValueError(f"{path} gives too few prompts for sets of {find}, {verify} and {means}: {counts}")
    if len(kept) < wanted:
        counts["too few prompts"] = f"{len(kept)} can be used, {wanted} were asked for; sets of {sizes}"
    for what in counts.keys() - {"prompts"}:
        logger.warning("%s: %s: %s", path, what, counts[what])
    first, second, third = (stack(part) for part in cut(kept, sizes))
    return TaskSets(path.name.split(".")[0], "file", first, second, third, counts, str(path), seed)


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: the file is neither JSON nor JSON lines: {error}") from error


def _pair(entry: Any, where: str) -> Pair:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is a {type(entry).__name__}, expected an object")
    found = {}
    for field, names in _NAMES.items():
        name = next((n for n in names if n in entry), None)
        if name is None:
            raise ValueError(f"{where} has no {names[0]!r} (or {', '.join(names[1:])}); keys: {', '.join(entry)}")
        found[field] = entry[name]
    for field in ("clean", "corrupt"):
        if not isinstance(found[field], str):
            raise ValueError(f"{where}: {field} is a {type(found[field]).__name__}, expected a text")
    for field in ("right", "wrong"):
        answers = [found[field]] if isinstance(found[field], str) else found[field]
        if not isinstance(answers, list) or not answers or not all(isinstance(a, str) and a for a in answers):
            raise ValueError(f"{where}: {field} answers {found[field]!r}: expected a text or a list of texts")
        found[field] = tuple(answers)
    template = str(entry.get("template", entry.get("case", "file")))
    return Pair(found["clean"], found["corrupt"], found["right"], found["wrong"], template)
