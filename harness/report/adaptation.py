"""How variants that adapt chose: the dispatch of pass one, what it took, and the mixtures that were found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.lines import line
from harness.report.rows import Entry, Row, Table

_LEGEND = (
    "Pass one decides, for each document, which patch it is asked under in pass two. Share: of the time of both. "
    "Counts: documents by the category that they were given to; in bold the category whose expert was trained on this "
    "task's training documents, so that the bold share is the accuracy of the dispatch where that is known. Unread: "
    "answers that name no category, given to the base. Tokens elsewhere on this page are those of pass two."
)
_MIXED = (
    "Found on training documents of each task (shots), the iterate chosen on others of them (held back); where a mark "
    "says so, on test documents, and then nothing is resolved from it. Weights are means over "
    "what is mixed. Time: the search as it was measured when it was made. Scores: the best mixture on the shots, and "
    "the chosen one on what was held back."
)
LEAKY = "⚠ chosen on test documents"


def adaptation(table: Table) -> list[str]:
    """Lines of the section, or none where no variant adapts."""
    rows = [r for r in table.rows if any(e.routes for e in r.entries.values())]
    dispatched = [r for r in rows if not _searched(r)]
    mixed = [r for r in rows if _searched(r)]
    if not rows:
        return []
    lines = ["## Adaptation", ""]
    if dispatched:
        lines += [_LEGEND, "", *_dispatch(table, dispatched), ""]
    if mixed:
        lines += [_MIXED, "", *_mixtures(table, mixed), ""]
    return lines


def share_of(entry: Entry) -> float | None:
    """Share of a cell's time that pass one took; None for a variant that does not adapt."""
    routing = entry.result.routing
    return routing["seconds"] / entry.result.seconds if routing and entry.result.seconds else None


def _searched(row: Row) -> bool:
    return any("alpha" in e.result.routing for e in row.entries.values())


def _dispatch(table: Table, rows: Sequence[Row]) -> list[str]:
    """The confusion matrix: tasks against categories."""
    entries = [(row, task, row.entries[task]) for row in rows for task in table.tasks if task in row.entries]
    categories: dict[str, None] = {}
    for _, _, entry in entries:
        config = entry.result.patch["config"]
        categories.update(dict.fromkeys([*config.get("experts", {}), *sorted(entry.routes)]))
    names = list(categories)
    heads = ["model", "variant", "task", *names, "unread", "pass one", "share"]
    lines = [line(heads), line(["---"] * 3 + ["---:"] * (len(heads) - 3))]
    for row, task, entry in entries:
        taught = _taught(entry.result.patch["config"], task)
        counts = [_bold(str(entry.routes.get(name, 0)), name in taught) for name in names]
        routing = entry.result.routing
        lines.append(
            line(
                [row.model, f"`{row.variant}`", task, *counts, str(routing.get("unread", "")), *_time(entry)],
            )
        )
    return lines


def _taught(config: Mapping[str, Any], task: str) -> set[str]:
    """Categories whose expert learned from this task."""
    plain = task.partition("(")[0]
    experts = config.get("experts") or {}
    return {c for c, spec in experts.items() if spec.get("config", {}).get("task") == plain}


def _bold(text: str, wanted: bool) -> str:
    return f"**{text}**" if wanted else text


def _time(entry: Entry) -> list[str]:
    share = share_of(entry)
    return [f"{entry.result.routing['seconds']:.1f} s", "" if share is None else f"{share:.0%}"]


def _mixtures(table: Table, rows: Sequence[Row]) -> list[str]:
    entries = [(row, task, row.entries[task]) for row in rows for task in table.tasks if task in row.entries]
    names = list(dict.fromkeys(name for _, _, e in entries for name in e.result.routing.get("alpha", {})))
    heads = [
        "model",
        "variant",
        "task",
        *(f"weight of {n}" for n in names),
        "shots",
        "held back",
        "iteration",
        "pass one",
        "share",
    ]
    lines = [line(heads), line(["---"] * 3 + ["---:"] * (len(heads) - 3))]
    for row, task, entry in entries:
        found = entry.result.routing
        weights = [f"{found['alpha'][n]:.2f}" if n in found["alpha"] else "" for n in names]
        on_shots, on_held = found["scores"][found["iteration"]]
        mark = f" {LEAKY}" if found["leaky"] else ""
        lines.append(
            line(
                [
                    *(row.model, f"`{row.variant}`{mark}", task, *weights),
                    *(f"{on_shots:.2f} of {found['shots']}", f"{on_held:.2f} of {found['held_back']}"),
                    *(str(found["iteration"]), *_time(entry)),
                ]
            )
        )
    return lines
