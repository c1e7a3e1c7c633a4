"""Writing the pages of a results folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness.files import write_text
from harness.report.claims import claim_records, claims_section, verdicts_of
from harness.report.experiment import experiment_page
from harness.report.formats import to_csv, to_json, to_latex
from harness.report.levels import level_table, levels_page
from harness.report.markdown import MARKS, one_line, percent, points, render
from harness.report.rows import Entry, Row, Table


def write_pages(table: Table, out: Path | None = None, claims: Any = None) -> list[Path]:
    """Writes ``table.md``, ``.csv``, ``.json`` and ``.tex`` to ``out``, or to the results folder.

    Where answers were judged there is ``levels.md`` too, and ``experiment.md`` where a paper's numbers were kept.
    Each file is whole or as it was.

    Args:
        table: the table.
        out: where to write.
        claims: claims to judge, by name, or ``all``; None for those that the folder's runs asked for.

    A file of levels or of published numbers that is damaged is named there, and the rest written.
    """
    verdicts, problems = verdicts_of(table.folder, table.models, claims)
    table = replace(table, damaged=(*table.damaged, *problems))
    pages = {
        "table.md": render(table, claims_section(verdicts)),
        "table.csv": to_csv(table),
        "table.json": to_json(table, claim_records(verdicts)),
        "table.tex": to_latex(table),
    }
    levels = level_table(table)
    for name, page in (("levels.md", levels_page(levels)), ("experiment.md", experiment_page(table, levels))):
        if page is not None:
            pages[name] = page
    paths = []
    for name, text in pages.items():
        paths.append((out or table.folder) / name)
        write_text(paths[-1], text)
    return paths


def terminal_text(table: Table) -> str:
    """The table for a terminal: scores, differences and marks."""
    blocks = []
    for model in table.models:
        rows = [r for r in table.rows if r.model == model]
        lines = [
            [_named(r), *(_short(r.entries[t]) if t in r.entries else r.absent(t) for t in table.tasks)] for r in rows
        ]
        blocks.append(tabulate(lines, headers=[model, *table.tasks], disable_numparse=True))
    note = f"percent (difference to {table.baseline}); ▲ resolved gain, ▼ resolved regression, no mark: unresolved"
    failed = [f"failed: {f.name}: {one_line(f.text)}" for row in table.rows for f in row.failures.values()]
    return "\n\n".join([*blocks, note, *failed, *(f"left out: {problem}" for problem in table.damaged)])


def _named(row: Row) -> str:
    counts = {len(e.seeds) for e in row.entries.values() if e.seeds}
    return row.variant + (f" ({max(counts)} seeds)" if counts else "") + (" ⚠ leaky" if row.leaky else "")


def _short(entry: Entry) -> str:
    comparison = entry.pairing.comparison if entry.pairing else None
    delta = f" ({points(comparison.difference.value)}){MARKS[entry.verdict]}" if comparison else ""
    return percent(entry.score.value) + delta
