"""The page of levels: counts with intervals, tokens beside them, and how far the judge can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.evaluation.cells import CellName, CellResult
from harness.evaluation.judged import JudgedTask, JudgedVariant, judged_tasks, key_of, known_by
from harness.evaluation.store import Store
from harness.report.lines import line
from harness.report.markdown import interval, p_value, percent
from harness.report.rows import Table
from harness.statistics import Comparison, Estimate, compare, holm, mean_interval
from harness.stethoscope.levels import LEVELS, agreement, confusion

_LEGEND = (
    "Levels of Shao & Wu (2025), section 2.2, for each answer: I not language, II language that has nothing to do with "
    "the task, III about the task and wrong, IV right. Counts of answers with their share in percent and its 95% "
    "interval. Δ level: mean difference to the baseline's level on the same documents, levels taken as 1 to 4, with "
    "its 95% interval; p by permutation, Holm-adjusted over the comparisons of this page. Tokens: mean of an answer, "
    "95% interval. Half of the base's answers (or fewer) set the thresholds and are counted in its row as well."
)


@dataclass(frozen=True)
class LevelRow:
    """One variant's answers on one task.

    Attributes:
        variant: its name.
        counts: answers of level I to IV.
        shares: the same as shares of all answers, with their intervals.
        tokens: mean tokens of an answer.
        comparison: its levels against the baseline's; None for the baseline and where that is missing.
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


@dataclass(frozen=True)
class LevelTable:
    """The judged answers of a table's cells.

    Attributes:
        tasks: each judged task with its rows.
        notes: what is left out, and why.
    """

    tasks: tuple[tuple[JudgedTask, tuple[LevelRow, ...]], ...]
    notes: tuple[str, ...]


def level_table(table: Table) -> LevelTable:
    """The levels of a table's cells; those of answers that are no longer stored are left out and named."""
    found, notes = judged_tasks(table.folder)
    store = Store(table.folder)
    plain: list[tuple[JudgedTask, list[LevelRow]]] = []
    for task in found:
        shown = {row.variant: row.entries[task.task].result for row in table.rows if row.model == task.model
                 and task.task in row.entries}  # fmt: skip
        current = {v: r for v, r in shown.items() if v in task.variants and task.variants[v].cell == known_by(r)}
        if stale := [v for v in shown if v in task.variants and v not in current]:
            notes.append(
                f"{task.model}, {task.task}: the levels of {', '.join(stale)} are of answers that were replaced since; "
                "run with levels.tasks again"
            )
        other = task.variants[table.baseline] if table.baseline in current else None
        rows = [_row(task.variants[v], other if v != table.baseline else None, r, store) for v, r in current.items()]
        if rows:
            plain.append((task, rows))
    adjusted = iter(holm([r.comparison.p for _, rows in plain for r in rows if r.comparison]))
    return LevelTable(
        tuple(
            (task, tuple(replace(r, adjusted_p=next(adjusted)) if r.comparison else r for r in rows))
            for task, rows in plain
        ),
        tuple(notes),
    )


def _row(answers: JudgedVariant, base: JudgedVariant | None, result: CellResult, store: Store) -> LevelRow:
    clusters = _clusters(result.name, store)
    documents = list(answers.documents)
    levels = [answers.documents[key] for key in documents]
    own = [clusters[key] for key in documents] if clusters else None
    shares = tuple(mean_interval([float(level == k) for level in levels], own) for k in (1, 2, 3, 4))
    comparison = None
    if base is not None:
        both = [k for k in documents if answers.documents[k] is not None and base.documents.get(k) is not None]
        if both:
            pairs = [(float(answers.documents[k]), float(base.documents[k])) for k in both]
            alike = [clusters[k] for k in both] if clusters else None
            comparison = compare([a for a, _ in pairs], [b for _, b in pairs], alike)
    tokens = mean_interval([float(answers.tokens[key]) for key in documents], own)
    return LevelRow(result.name.variant, tuple(answers.tally()), shares, tokens, comparison, None, answers.unread)


def _clusters(name: CellName, store: Store) -> Mapping[str, str] | None:
    """What documents are alike to, where the task says so."""
    clusters = {key_of(o.subtask, o.doc_id): o.cluster for o in store.outcomes(name)}
    return None if any(c is None for c in clusters.values()) else {k: str(c) for k, c in clusters.items()}


def level_text(row: LevelRow) -> str:
    """``I 3, III 97``: the levels that there are, for a table that has other things to say too."""
    return ", ".join(f"{name} {n}" for name, n in zip(LEVELS, row.counts, strict=True) if n) or "no level"


def tokens_text(row: LevelRow) -> str:
    """Mean tokens with their interval."""
    return f"{row.tokens.value:.1f} {interval(row.tokens, lambda v: f'{v:.1f}')}"


def levels_page(levels: LevelTable) -> str | None:
    """The Markdown page of a table's cells, or None if no answer of theirs was judged."""
    if not levels.tasks and not levels.notes:
        return None
    parts = ["# Levels of answers", "", _LEGEND, ""]
    for task, rows in levels.tasks:
        parts += [f"## {task.model}, {task.task}", "", *_counts(rows), "", *_trust(task), ""]
    return "\n".join([*parts, *(f"- ⚠ left out: {note}" for note in levels.notes), ""])


def _counts(rows: tuple[LevelRow, ...]) -> list[str]:
    unread = any(row.unread for row in rows)
    heads = ["variant", "n", *LEVELS, *(["no level"] if unread else []), "Δ level", "adjusted p", "tokens"]
    lines = [line(heads), line(["---", *["---:"] * (len(heads) - 1)])]
    for row in rows:
        cells = [f"**{n}**<br>{percent(s.value)} {interval(s)}" for n, s in zip(row.counts, row.shares, strict=True)]
        more = [*([str(row.unread)] if unread else []), _difference(row), p_value(row.adjusted_p), tokens_text(row)]
        lines.append(line([f"`{row.variant}`", str(sum(row.counts) + row.unread), *cells, *more]))
    return lines


def _difference(row: LevelRow) -> str:
    if row.comparison is None:
        return ""
    d = row.comparison.difference
    # Without any spread there is no interval to speak of.
    spread = interval(d, _signed) if d.high > d.low else "(every answer alike)"
    return f"{_signed(d.value)} {spread}"


def _signed(value: float) -> str:
    """With its sign, and no ``-0.00``."""
    return f"{round(value, 2) + 0.0:+.2f}"


def _trust(task: JudgedTask) -> list[str]:
    """The judge's rule and error."""
    lines = [f"Judge: {task.judge}. {task.rule}"]
    if task.thresholds:
        values = ", ".join(f"{name} {value:.2f}" for name, value in task.thresholds.items())
        lines += ["", f"Thresholds, set by {task.calibrated} answers of `{task.teacher}`: {values}."]
    made = confusion(task.examples)
    unread = any(row[4] for _, row in made.values())
    heads = ["made to be", "level", "judged I", "II", "III", "IV", *(["no level"] if unread else []), "agreement"]
    table = [line(heads), line(["---", "---", *["---:"] * (len(heads) - 2)])]
    for kind, (truth, row) in made.items():
        good = mean_interval([1.0] * row[truth - 1] + [0.0] * (sum(row) - row[truth - 1]))
        text = "by the scorer" if truth == 4 else f"{percent(good.value)} {interval(good)}"
        table.append(line([kind, LEVELS[truth - 1], *(str(n) for n in (row if unread else row[:4])), text]))
    found = agreement(task.examples)
    if found is None:
        return [*lines, "", "No labelled set: its agreement is unknown."]
    return [
        *lines,
        "",
        f"Agreement with the labelled set, on documents that set no threshold: **{percent(found.balanced)}** "
        f"[{percent(found.low)}, {percent(found.high)}], the mean of its agreements on examples of level I, II and III "
        f"(interval by drawing documents); {found.right} of {found.n} in all.",
        "",
        *table,
    ]
