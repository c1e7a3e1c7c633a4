"""A paper's numbers beside the measured ones, both with their intervals and tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.config.experiments import Published, PublishedRow
from harness.evaluation.judged import judged_tasks
from harness.evaluation.statistics import Estimate, holm, mean_interval
from harness.files import write_text
from harness.report.levels import LevelRow, level_rows, level_text
from harness.report.markdown import MARKS, interval, line, p_value, percent, points
from harness.report.table import Row, Table

FILE = "published.json"
_LEGEND = (
    "Published: scores as printed, in percent, with the 95% interval (Wilson) that their number of documents gives, "
    "and Fisher's exact p against the block's baseline (a paper prints no outcomes by document, so nothing is paired), "
    "Holm-adjusted over the block. Measured: score with its interval, Δ to the baseline on the same documents with its "
    "paired interval, and p (exact McNemar or permutation), Holm-adjusted over this folder's table; ▲ resolved gain, "
    "▼ resolved regression, no mark: unresolved, which does not mean unchanged. Levels: counts of answers."
)


@dataclass(frozen=True)
class Claimed:
    """A published score, with what its number of documents allows to say.

    Attributes:
        right: documents right, from score and number.
        score: with its interval.
        p: Fisher's exact test against the baseline's; None for the baseline.
        adjusted_p: Holm-adjusted over the block.
    """

    right: int
    score: Estimate
    p: float | None
    adjusted_p: float | None


def keep(folder: Path, blocks: Sequence[Published]) -> None:
    """Keeps a paper's numbers in a results folder, for its pages."""
    write_text(folder / FILE, json.dumps([asdict(b) for b in blocks], indent=1) + "\n")


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
    right: dict[tuple[str, str], int] = {}
    for row in block.rows:
        for task, score in row.scores.items():
            if task not in block.n or not 0 <= score <= 1:
                raise ValueError(
                    f"{block.source}: {row.variant} on {task}: a score from 0 to 1 and n.{task} are needed"
                )
            right[row.variant, task] = round(score * block.n[task])
    tests = {
        (variant, task): _fisher(k, right[block.baseline, task], block.n[task])
        for (variant, task), k in right.items()
        if variant != block.baseline and (block.baseline, task) in right
    }
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    return {
        key: Claimed(k, _estimate(k, block.n[key[1]]), tests.get(key), adjusted.get(key)) for key, k in right.items()
    }


def _fisher(k: int, other: int, n: int) -> float:
    return float(stats.fisher_exact(np.array([[k, n - k], [other, n - other]])).pvalue)


def _estimate(k: int, n: int) -> Estimate:
    return mean_interval([1.0] * k + [0.0] * (n - k))


def experiment_page(table: Table) -> str | None:
    """The page of published beside measured numbers, or None where no paper's were kept.

    Raises:
        ValueError: if what was kept is damaged.
    """
    blocks = kept(table.folder)
    if not blocks:
        return None
    judged: dict[tuple[str, str], dict[str, LevelRow]] = {}
    for task, rows in level_rows(list(judged_tasks(table.folder))):
        judged[task.model, task.task] = {r.variant: r for r in rows}
    parts = ["# Published and measured", "", _LEGEND, ""]
    for model in table.models:
        own = [b for b in blocks if b.model == model]
        for block in own or blocks:
            parts += _section(table, model, block, judged, other=not own)
    return "\n".join(parts)


def _section(
    table: Table, model: str, block: Published, judged: dict[tuple[str, str], dict[str, LevelRow]], other: bool
) -> list[str]:
    """One block beside one measured model."""
    measured = {r.variant: r for r in table.rows if r.model == model}
    told = claims(block)
    published_tasks = list(block.n)
    heads = ["variant", "paper"]
    heads += [f"published {t}<br>n={block.n[t]}" for t in published_tasks]
    extra = [k for k in ("tokens", "level") if any(getattr(r, k) is not None for r in block.rows)]
    heads += [f"published {k}" for k in extra]
    heads += [f"measured {t}" for t in table.tasks]
    levels = [t for t in table.tasks if (model, t) in judged]
    heads += [f"{kind}, {t}" for t in levels for kind in ("levels", "tokens")]
    lines = [line(heads), line(["---", "---", *["---:"] * (len(heads) - 2)])]
    used: set[str] = set()
    for row in block.rows:
        variant = next((v for v in measured if v.partition("(")[0] == row.variant), None)
        used |= {variant} if variant else set()
        cells = [_told(told.get((row.variant, t))) for t in published_tasks] + [_text(getattr(row, k)) for k in extra]
        lines.append(
            line(
                [
                    f"`{variant or row.variant}`",
                    row.label,
                    *cells,
                    *_own(table, measured, variant, levels, judged, model),
                ]
            )
        )
    for variant in measured:
        if variant not in used:
            blank = [""] * (len(published_tasks) + len(extra))
            lines.append(line([f"`{variant}`", "", *blank, *_own(table, measured, variant, levels, judged, model)]))
    title = f"## Measured on {model}; published: {block.about or block.model} ({block.source})"
    warning = ["The published models are others than the measured one: what compares is the pattern.", ""]
    note = [block.note, ""] if block.note else []
    return [title, "", *(warning if other else []), *note, *lines, "", *_sentences(block, told), ""]


def _told(claimed: Claimed | None) -> str:
    if claimed is None:
        return ""
    text = f"{percent(claimed.score.value)} {interval(claimed.score)}<br>{claimed.right} of {claimed.score.n}"
    return text if claimed.p is None else f"{text}, p={_p(claimed.p)}, adjusted {_p(claimed.adjusted_p)}"


def _p(p: float | None) -> str:
    return p_value(p).replace("<", "below ")


def _text(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}" if isinstance(value, float) else str(value)


def _own(
    table: Table,
    measured: dict[str, Row],
    variant: str | None,
    levels: Sequence[str],
    judged: dict[tuple[str, str], dict[str, LevelRow]],
    model: str,
) -> list[str]:
    """The measured cells of a row."""
    if variant is None:
        return ["not run"] * len(table.tasks) + [""] * (2 * len(levels))
    row, out = measured[variant], []
    for task in table.tasks:
        entry = row.entries.get(task)
        if entry is None:
            out.append(row.absent(task))
            continue
        text = f"**{percent(entry.score.value)}** {interval(entry.score)}, n={entry.score.n}"
        if entry.pairing and entry.pairing.comparison:
            d = entry.pairing.comparison.difference
            text += f"<br>Δ {points(d.value)} {interval(d, points)}, adjusted p={_p(entry.adjusted_p)}"
            text += MARKS[entry.verdict]
        out.append(text)
    for task in levels:
        found = judged[model, task].get(variant)
        out += [level_text(found), f"{found.tokens.value:.1f}"] if found else ["", ""]
    return out


def _sentences(block: Published, told: dict[tuple[str, str], Claimed]) -> list[str]:
    """What the published numbers resolve by themselves."""
    tested = {key: c for key, c in told.items() if c.p is not None}
    if not tested:
        return []
    names = {r.variant: r.label or r.variant for r in block.rows}
    resolved = [
        f"{names[v]} on {t}" for (v, t), c in tested.items() if c.adjusted_p is not None and c.adjusted_p < 0.05
    ]
    return [
        f"Of the {len(tested)} published differences to {names[block.baseline]}, {len(resolved)} are resolved at the "
        f"5% level after Holm{': ' + ', '.join(resolved) if resolved else ''}."
    ]
