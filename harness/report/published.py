"""A paper's numbers, kept with the results, and what they can say by themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from harness.config.experiments import Published, PublishedRow
from harness.files import write_text
from harness.statistics import Estimate, holm, mean_interval

FILE = "published.json"


@dataclass(frozen=True)
class Claimed:
    """A published score, with what its number of documents allows to say.

    Attributes:
        printed: score as printed.
        right: documents right, from score and number.
        score: with its interval.
        p: Fisher's exact test against the baseline's; None for the baseline.
        adjusted_p: Holm-adjusted over the block.
    """

    printed: float
    right: int
    score: Estimate
    p: float | None
    adjusted_p: float | None


def keep(folder: Path, blocks: Sequence[Published]) -> None:
    """Keeps a paper's numbers in a results folder, for its pages, beside those of other experiments there."""
    together = {(b.source, b.model): b for b in (*kept(folder), *blocks)}
    write_text(folder / FILE, json.dumps([asdict(b) for b in together.values()], indent=1) + "\n")


def kept(folder: Path) -> list[Published]:
    """The numbers that were kept.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        blocks = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(blocks, list):
            raise TypeError(f"a {type(blocks).__name__} in place of a list")
        return [Published(**{**b, "rows": [PublishedRow(**r) for r in b["rows"]]}) for b in blocks]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no published numbers: {error}. Delete it.") from error


def claims(block: Published) -> dict[tuple[str, str], Claimed]:
    """Every score of a block by variant and task.

    Raises:
        ValueError: if a score has no number of documents, or lies outside 0 to 1.
    """
    if any(row.scores for row in block.rows) and block.baseline not in {row.variant for row in block.rows}:
        raise ValueError(f"{block.source}: its baseline {block.baseline} is none of its rows")
    right: dict[tuple[str, str], int] = {}
    sizes: dict[tuple[str, str], int] = {}
    printed: dict[tuple[str, str], float] = {}
    for row in block.rows:
        for task, score in row.scores.items():
            if task not in block.n or not 0 <= score <= 1:
                raise ValueError(
                    f"{block.source}: {row.variant} on {task}: a score from 0 to 1 and n.{task} are needed"
                )
            key = (row.variant, task)
            printed[key], sizes[key] = score, row.n.get(task, block.n[task])
            right[key] = round(score * sizes[key])
    tests = {
        (variant, task): _fisher(k, sizes[variant, task], right[block.baseline, task], sizes[block.baseline, task])
        for (variant, task), k in right.items()
        if variant != block.baseline and (block.baseline, task) in right
    }
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    return {
        key: Claimed(printed[key], k, _estimate(k, sizes[key]), tests.get(key), adjusted.get(key))
        for key, k in right.items()
    }


def _fisher(k: int, n: int, other: int, m: int) -> float:
    return float(stats.fisher_exact(np.array([[k, n - k], [other, m - other]])).pvalue)


def _estimate(k: int, n: int) -> Estimate:
    return mean_interval([1.0] * k + [0.0] * (n - k))
