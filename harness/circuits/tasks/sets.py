"""The three sets of prompts of a circuit: to find it on, to verify it on, and for the means of ablation."""

from __future__ import annotations

import hashlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import ModuleType
from typing import Any

from transformers import PreTrainedTokenizerBase

from harness.circuits.prompts import Prompts
from harness.circuits.tasks import docstring, greater_than, induction, ioi, pronouns
from harness.circuits.tasks.encode import Encoded, Encoder, UnfitError, stack, unfit_templates
from harness.circuits.tasks.pairs import Drawing, Pair
from harness.circuits.tasks.spelling import Spelling

logger = logging.getLogger(__name__)
MODULES: dict[str, ModuleType] = {
    "ioi": ioi,
    "greater_than": greater_than,
    "pronouns": pronouns,
    "induction": induction,
    "docstring": docstring,
}
TASKS = tuple(MODULES)
# What is measured unless something else is asked for (Andersen et al. 2025 take logit differences throughout).
METRICS = {name: "logit_diff_max" if name == "docstring" else "logit_diff" for name in TASKS}
SETS = ("find", "verify", "means")
_TEST_SHARE = 0.2


@dataclass(frozen=True)
class TaskSets:
    """Prompts of one task for one model.

    Attributes:
        task: its name.
        corruption: how the corrupt prompts are made.
        find: prompts that circuits are found on.
        verify: prompts that they are verified on; none of them is in ``find``.
        means: prompts whose corrupt twins means are taken over; none is in the others unless ``counts`` says so.
        counts: what was kept of words and prompts, for people.
        source: wording, or the file they were read from.
        seed: seed of the draws; None for prompts from a file.
    """

    task: str
    corruption: str
    find: Prompts
    verify: Prompts
    means: Prompts
    counts: Mapping[str, str]
    source: str
    seed: int | None = None

    def record(self) -> dict[str, Any]:
        """What says which prompts these are."""
        return {
            "task": self.task,
            "corruption": self.corruption,
            "source": self.source,
            "seed": self.seed,
            "sizes": {name: len(getattr(self, name)) for name in SETS},
            "digests": {name: getattr(self, name).digest for name in SETS},
            "counts": dict(self.counts),
        }


def drawing(task: str, words: str, tokenizer: PreTrainedTokenizerBase | None, corruption: str | None) -> Drawing:
    """A task ready to draw pairs.

    Raises:
        ValueError: for an unknown task, wording or corruption, or a tokenizer that it does not fit.
    """
    if task not in MODULES:
        raise ValueError(f"unknown circuit task {task!r}; known: {', '.join(MODULES)}")
    module = MODULES[task]
    if words not in module.WORDINGS:
        raise ValueError(f"{task}: unknown words {words!r}; known: {', '.join(module.WORDINGS)}")
    corruption = corruption or module.CORRUPTIONS[0]
    if corruption not in module.CORRUPTIONS:
        raise ValueError(f"{task}: unknown corruption {corruption!r}; known: {', '.join(module.CORRUPTIONS)}")
    prepared: Drawing = module.prepare(module.WORDINGS[words], Spelling(tokenizer), corruption)
    return prepared


def cut(kept: Sequence[Encoded], sizes: Sequence[int]) -> Iterator[Sequence[Encoded]]:
    """Stretches of so many pairs, one behind the other."""
    for start, size in zip(accumulate(sizes, initial=0), sizes, strict=False):
        yield kept[start : start + size]


def is_test(prompt: str) -> bool:
    """The prompt is one that suites ask; circuits are found and verified on the others."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8], "big") / 2**64 < _TEST_SHARE


def distinct(draw: Callable[[random.Random], Pair], rng: random.Random, wanted: int, test: bool = False) -> list[Pair]:
    """Pairs with clean prompts that all differ, on one side of the split; fewer where the words give no more."""
    found: dict[str, Pair] = {}
    misses = 0
    while len(found) < wanted and misses < 200 + 20 * wanted:
        pair = draw(rng)
        # An unfinished word belongs to the prompt.
        key = pair.clean + (pair.unfinished[0] if pair.unfinished else "")
        if key in found or is_test(key) != test:
            misses += 1
        else:
            found[key] = pair
            misses = 0
    return list(found.values())


def draw_sets(
    task: str,
    tokenizer: PreTrainedTokenizerBase,
    words: str = "literature",
    corruption: str | None = None,
    find: int = 100,
    verify: int = 200,
    means: int = 400,
    seed: int = 0,
    max_length: int | None = None,
) -> TaskSets:
    """Draws the three sets of a task.

    Where the words give too few prompts, each set is smaller in proportion, which is counted and said.

    Args:
        task: one of `TASKS`.
        tokenizer: the model's.
        words: ``literature``, or ``lab`` for the lab's models.
        corruption: how the corrupt prompts are made; None for the task's first.
        find: prompts to find circuits on.
        verify: prompts to verify them on.
        means: prompts whose corrupt twins means are taken over.
        seed: of the draws.
        max_length: tokens of the longest prompt.

    Raises:
        ValueError: if the task or its words do not fit, or hardly any prompt can be made.
    """
    if min(find, verify, means) < 2:
        raise ValueError(f"{task}: each set needs two prompts at least; asked: {find}, {verify}, {means}")
    prepared = drawing(task, words, tokenizer, corruption)
    encoder = Encoder(tokenizer, max_length)
    rng = random.Random(f"{task}-{words}-{seed}")
    wanted = find + verify + means
    accepted: Counter[str] = Counter()
    rejected: Counter[tuple[str, str]] = Counter()
    kept = []
    drawn = distinct(prepared.draw, rng, 2 * wanted)
    for pair in drawn:
        try:
            kept.append(encoder.encode(pair))
            accepted[pair.template] += 1
        except UnfitError as error:
            rejected[pair.template, str(error)] += 1
        if len(kept) == wanted:
            break
    counts = dict(prepared.counts)
    if rejected:
        reasons = Counter({reason: 0 for _, reason in rejected})
        for (_, reason), n in rejected.items():
            reasons[reason] += n
        counts["prompts that did not fit"] = "; ".join(f"{n}: {reason}" for reason, n in reasons.most_common())
    if unfit := unfit_templates(accepted, rejected):
        counts["templates that did not fit"] = "; ".join(f"{t}: {reason}" for t, reason in unfit.items())
    sizes = [find, verify, means]
    if len(kept) < wanted:
        sizes[2] = max(min(sizes[:2]), len(kept) - find - verify)  # means can do with fewer
        sizes = [min(size, len(kept) * size // sum(sizes)) for size in sizes]
        counts["too few prompts"] = f"{len(kept)} differ, {wanted} were asked for; sets of {sizes}"
        logger.warning("%s: %s", task, counts["too few prompts"])
    if min(sizes) < 2:
        raise ValueError(f"{task} gives {len(kept)} prompts with this tokenizer, {wanted} were asked for: {counts}")
    first, second, third = (stack(part) for part in cut(kept, sizes))
    corruption = corruption or MODULES[task].CORRUPTIONS[0]
    return TaskSets(task, corruption, first, second, third, counts, words, seed)
