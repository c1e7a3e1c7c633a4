"""The table as a comment: what ``$GITHUB_STEP_SUMMARY`` shows of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.report.against import Against, against_section
from harness.report.claims import claims_section, verdicts_of
from harness.report.markdown import brief
from harness.report.rows import Table

VARIABLE = "GITHUB_STEP_SUMMARY"
LIMIT = 1_000_000  # bytes; GitHub takes 1 MiB a step, and nothing of a summary that is larger


def write_summary(table: Table, against: Against | None = None) -> Path | None:
    """Appends the run's table, claims and regressions to the file that CI shows.

    Returns:
        The file, or None where the variable is not set.
    """
    target = os.environ.get(VARIABLE)
    if not target:
        return None
    path = Path(target)
    with path.open("a", encoding="utf-8") as file:
        file.write(summary(table, against))
    return path


def summary(table: Table, against: Against | None = None, limit: int = LIMIT) -> str:
    """The summary as Markdown, no longer than CI takes: whole sections are left out, and named, the last ones first."""
    verdicts, problems = verdicts_of(table.folder, table.models)
    sections: list[tuple[str, Sequence[str]]] = [
        ("what regressed", against_section(against) if against else []),
        ("the table", brief(table)),
        ("claims", claims_section(verdicts)),
        ("what went wrong", [f"- ⚠ left out: {p}" for p in (*table.damaged, *problems)]),
    ]
    text, left = "", []
    for name, lines in sections:
        own = "\n".join(lines) + "\n\n" if lines else ""
        if len((text + own).encode()) > limit - 200:
            left.append(name)
        else:
            text += own
    return text + (f"Left out, being too long: {', '.join(left)}; see table.md in {table.folder}.\n" if left else "")
