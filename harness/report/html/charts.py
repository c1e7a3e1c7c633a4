"""Forest plots and cost against score."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness.report.html.frame import SIGNS, columns, esc, name_html, section, table
from harness.report.html.plots import Point, cost_plot, interval_bar
from harness.report.html.source import Source
from harness.report.markdown import interval, points
from harness.statistics import Estimate


def forests(source: Source, pages: Mapping[str, str]) -> str:
    """The forest plots of all tasks; empty where nothing is compared."""
    blocks = [
        f'<h3><a href="{esc(pages[task])}">{esc(task)}</a></h3>{found}'
        for task in source.table.tasks
        if (found := forest(source, task))
    ]
    text = "Differences to the baseline in points with their 95% intervals. A scale for each task; the line is 0."
    return section("forest", "Differences", columns(blocks) if blocks else "", text)


def forest(source: Source, task: str) -> str:
    """The forest plot of one task; empty where nothing is compared."""
    found = [
        (row, e, e.pairing.comparison) for row, e in source.rows(task) if e.pairing and e.pairing.comparison
    ]  # fmt: skip
    if not found:
        return ""
    reach = max(max(abs(c.difference.low), abs(c.difference.high)) for _, _, c in found) or 1.0
    rows = []
    for row, entry, c in found:
        d = c.difference
        words = (
            f"{source.name(row)}: {points(d.value)} points, from {points(d.low)} to {points(d.high)}, {entry.verdict}"
        )
        bar = interval_bar(d, reach, entry.verdict, words)
        sign = SIGNS.get(entry.verdict, "")
        text = f'{f"{sign} " if sign else ""}{points(d.value)} <span class="ci">{interval(d, points)}</span>'
        rows.append([name_html(source.name(row)), bar, text])
    return table(
        ["variant", f"{points(-reach)} to {points(reach)}", "points"], rows, f"Differences on {task}", "forest"
    )


def cost_points(source: Source, task: str) -> list[Point]:
    """Seconds a document against the score."""
    found = []
    for row, entry in source.rows(task):
        asked = entry.result.n * max(1, len(entry.seeds))
        if entry.result.seconds > 0 and asked and math.isfinite(entry.score.high):
            e = entry.score
            seconds = entry.result.seconds / asked
            found.append(Point(source.name(row), seconds, e.value, e.low, e.high, entry.verdict))
    return found


def mean_cost(source: Source) -> str:
    """Mean score over the tasks that every row has, against the seconds of a document."""
    t = source.table
    tasks = [task for task in t.tasks if all(task in row.entries for row in t.rows)]
    if not tasks:
        return ""
    found = []
    for row in t.rows:
        entries = [row.entries[task] for task in tasks]
        if not all(e.result.seconds > 0 and math.isfinite(e.score.high) for e in entries):
            continue
        seconds = sum(e.result.seconds / (e.result.n * max(1, len(e.seeds))) for e in entries) / len(entries)
        mean = sum(e.score.value for e in entries) / len(entries)
        # Tasks are fixed, documents drawn: the error of the mean over tasks is that of their documents.
        half = sum(((e.score.high - e.score.low) / 2) ** 2 for e in entries) ** 0.5 / len(entries)
        spread = Estimate(mean, max(mean - half, 0.0), min(mean + half, 1.0), len(entries), "")
        if len(entries) == 1:
            spread = entries[0].score
        found.append(Point(source.name(row), seconds, mean, spread.low, spread.high, "none"))
    if not found:
        return ""
    text = (
        f"Mean score over {len(tasks)} tasks ({esc(', '.join(tasks))}) against the seconds that a document took, as "
        "measured in this run, whatever else the machine did then."
    )
    if len(tasks) > 1:
        text += (
            " Intervals: 95%, by the normal approximation from those of the tasks, of the documents drawn and not of "
            "the tasks chosen; cut at 0 and 100%."
        )
    plot = cost_plot(found, "seconds a document", "score, %", "Mean score against seconds a document")
    return section("cost", "Cost and score", plot, text)
