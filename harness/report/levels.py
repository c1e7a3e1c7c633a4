"""The page of levels: counts with intervals, tokens beside them, and how far the judge can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.evaluation.judged import JudgedTask, JudgedVariant, judged_tasks
from harness.evaluation.statistics import Comparison, Estimate, compare, holm, mean_interval
from harness.report.markdown import interval, line, p_value, percent

LEVELS = ("I", "II", "III", "IV")
_LEGEND = (
    "Levels of Shao & Wu (2025), section 2.2, for each answer: I not language, II language that has nothing to do with "
    "the task, III about the task and wrong, IV right. Counts of answers with their share in percent and its 95% "
    "interval (Wilson). Δ level: mean difference to the baseline's level on the same documents, with its 95% interval; "
    "p by permutation, Holm-adjusted over the comparisons of this page. Tokens: mean of an answer, 95% interval."
)


@dataclass(frozen=True)
class LevelRow:
    """One variant's answers on one task.

    Attributes:
        variant: its name.
        counts: answers of level I to IV.
        shares: the same as shares with their intervals.
        tokens: mean tokens of an answer.
        comparison: its levels against the baseline's; None for the baseline.
        adjusted_p: Holm-adjusted over all rows.
        unread: answers without a level.
    """

    variant: str
    counts: tuple[int, ...]
    shares: tuple[Estimate, ...]
    tokens: Estimate
    comparison: Comparison | None
    adjusted_p: float | None
    unread: int


def level_rows(judged: list[JudgedTask]) -> list[tuple[JudgedTask, list[LevelRow]]]:
    """The rows of every judged task; p-values are adjusted over all of them."""
    plain = [[_row(variant, answers, task) for variant, answers in task.variants.items()] for task in judged]
    adjusted = iter(holm([r.comparison.p for rows in plain for r in rows if r.comparison]))
    return [
        (task, [LevelRow(**{**vars(r), "adjusted_p": next(adjusted) if r.comparison else None}) for r in rows])
        for task, rows in zip(judged, plain, strict=True)
    ]


def _row(variant: str, answers: JudgedVariant, task: JudgedTask) -> LevelRow:
    levels = [level for level in answers.documents.values() if level is not None]
    shares = tuple(mean_interval([float(level == k) for level in levels]) for k in (1, 2, 3, 4)) if levels else ()
    base = task.variants.get(task.baseline)
    comparison = None
    if base is not None and variant != task.baseline:
        pairs = [
            (level, other)
            for key, level in answers.documents.items()
            if level is not None and (other := base.documents.get(key)) is not None
        ]
        if pairs:
            comparison = compare([float(a) for a, _ in pairs], [float(b) for _, b in pairs])
    tokens = mean_interval([float(n) for n in answers.tokens.values()])
    return LevelRow(variant, tuple(answers.tally()), shares, tokens, comparison, None, answers.unread)


def level_text(row: LevelRow) -> str:
    """``I 3, III 97``: the levels that there are, for a table that has other things to say too."""
    return ", ".join(f"{name} {n}" for name, n in zip(LEVELS, row.counts, strict=True) if n)


def levels_page(folder: Path) -> str | None:
    """The Markdown page of a results folder, or None if no answer was judged there.

    Raises:
        ValueError: if a file of judged answers is damaged.
    """
    judged = list(judged_tasks(folder))
    if not judged:
        return None
    parts = ["# Levels of answers", "", _LEGEND, ""]
    for task, rows in level_rows(judged):
        parts += [f"## {task.model}, {task.task}", "", *_counts(rows), "", *_trust(task), ""]
    return "\n".join(parts)


def _counts(rows: list[LevelRow]) -> list[str]:
    unread = any(row.unread for row in rows)
    heads = ["variant", "n", *LEVELS, *(["no level"] if unread else []), "Δ level", "adjusted p", "tokens"]
    lines = [line(heads), line(["---", *["---:"] * (len(heads) - 1)])]
    for row in rows:
        cells = [
            f"**{n}**<br>{percent(s.value)} {interval(s)}"
            for n, s in zip(row.counts, row.shares, strict=bool(row.shares))
        ]
        lines.append(
            line(
                [
                    f"`{row.variant}`",
                    str(sum(row.counts) + row.unread),
                    *cells,
                    *([str(row.unread)] if unread else []),
                    _difference(row),
                    p_value(row.adjusted_p),
                    f"{row.tokens.value:.1f} {interval(row.tokens, lambda v: f'{v:.1f}')}",
                ]
            )
        )
    return lines


def _difference(row: LevelRow) -> str:
    if row.comparison is None:
        return ""
    d = row.comparison.difference
    # Without any spread there is no interval to speak of.
    spread = interval(d, lambda v: f"{v:+.2f}") if d.high > d.low else "(every answer alike)"
    return f"{d.value:+.2f} {spread}"


def _of(kinds: dict[str, list[int]], task: JudgedTask) -> tuple[int, int]:
    """Examples of some kinds that were judged right, and all of them."""
    return sum(row[task.truth[kind] - 1] for kind, row in kinds.items()), sum(map(sum, kinds.values()))


def _trust(task: JudgedTask) -> list[str]:
    """The judge's rule and error."""
    lines = [f"Judge: {task.judge}. {task.rule}"]
    if task.thresholds:
        values = ", ".join(f"{name} {value:.2f}" for name, value in task.thresholds.items())
        lines += ["", f"Thresholds, set by {task.calibrated} answers of `{task.baseline}`: {values}."]
    made = sorted(task.agreement.items(), key=lambda item: task.truth[item[0]])
    kinds = {kind: row for kind, row in made if sum(row)}
    unread = any(row[4] for row in kinds.values())
    heads = ["made to be", "level", "judged I", "II", "III", "IV", *(["no level"] if unread else []), "agreement"]
    table = [line(heads), line(["---", "---", *["---:"] * (len(heads) - 2)])]
    for kind, row in kinds.items():
        good = mean_interval([1.0] * row[task.truth[kind] - 1] + [0.0] * (sum(row) - row[task.truth[kind] - 1]))
        cells = [str(n) for n in (row if unread else row[:4])]
        table.append(line([kind, LEVELS[task.truth[kind] - 1], *cells, f"{percent(good.value)} {interval(good)}"]))
    decided = {kind: row for kind, row in kinds.items() if task.truth[kind] != 4}
    right, n = _of(decided, task)
    total = mean_interval([1.0] * right + [0.0] * (n - right))
    by_level = [_of({k: r for k, r in decided.items() if task.truth[k] == level}, task) for level in (1, 2, 3)]
    balanced = [good / all_ for good, all_ in by_level if all_]
    return [
        *lines,
        "",
        f"Agreement with the labelled set (documents that set no threshold; right answers, which the scorer decides, "
        f"left out): **{percent(total.value)}** {interval(total)}, n={n}; mean of the levels' own agreements: "
        f"{percent(sum(balanced) / len(balanced))}.",
        "",
        *table,
    ]
