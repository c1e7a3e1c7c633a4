"""The same table for machines and papers: CSV, JSON, LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from harness.report.markdown import interval, percent, points
from harness.report.rows import Entry, Row, Table


def records(table: Table) -> list[dict[str, Any]]:
    """One flat record a cell, with numbers as numbers."""
    return [_record(row, task, e) for row in table.rows for task, e in row.entries.items()]


def _record(row: Row, task: str, entry: Entry) -> dict[str, Any]:
    r = entry.result
    comparison = entry.pairing.comparison if entry.pairing else None
    d = comparison.difference if comparison else None
    return {
        "model": row.model,
        "variant": row.variant,
        "task": task,
        "metric": r.metric,
        "filter": r.filter,
        "n": r.n,
        "chance": r.chance,
        "score": entry.score.value,
        "score_low": entry.score.low,
        "score_high": entry.score.high,
        "interval": entry.score.method,
        "difference": d.value if d else None,
        "difference_low": d.low if d else None,
        "difference_high": d.high if d else None,
        "difference_interval": d.method if d else None,
        "p": comparison.p if comparison else None,
        "test": comparison.test if comparison else None,
        "adjusted_p": entry.adjusted_p,
        "verdict": entry.verdict,
        "seeds": len(entry.seeds) or None,
        "gained": comparison.gained if comparison else None,
        "lost": comparison.lost if comparison else None,
        "resolvable": comparison.resolvable if comparison else None,
        "unpaired": entry.pairing.unpaired if entry.pairing else None,
        "touched": r.patch["touched"],
        "trained": r.patch["trained"],
        "parameters": r.patch["total"],
        **r.counts,
        "seconds": r.seconds,
        "first_pass": r.routing.get("seconds"),
        "leaky": row.leaky,
        "model_fingerprint": r.identity["model"],
        "patch_digest": r.identity["patch"],
        "cell_digest": r.digest,
    }


def to_csv(table: Table) -> str:
    """CSV with a header line."""
    rows = records(table)
    buffer = io.StringIO()
    # Cells of other versions, and imported ones, have fewer counts: those with most name the columns first.
    columns = dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row)
    writer = csv.DictWriter(buffer, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def to_json(table: Table, claims: Sequence[dict[str, Any]] = ()) -> str:
    """JSON: the records, each cell's identity, and the verdicts on claims."""
    cells = [
        {**_record(row, task, e), "identity": e.result.identity, "scores": e.result.scores, "groups": e.result.groups,
         "patch": e.result.patch, "routing": e.result.routing, "routes": e.routes, "by_seed": e.seeds}
        for row in table.rows
        for task, e in row.entries.items()
    ]  # fmt: skip
    failed = [failure for row in table.rows for failure in row.failures.values()]
    page = {
        "baseline": table.baseline,
        "tasks": table.tasks,
        "comparisons": table.comparisons,
        "cells": cells,
        "failed": failed,
        "claims": claims,
    }
    return json.dumps(page, indent=1, default=asdict) + "\n"


def _tex(text: str) -> str:
    for sign in "&%$#_{}":
        text = text.replace(sign, f"\\{sign}")
    return text


def to_latex(table: Table) -> str:
    """A booktabs table; resolved gains bold, resolved regressions in italics."""
    head = " & ".join(["Variant", *(_tex(t) for t in table.tasks)])
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * len(table.tasks)}}}",
        "\\toprule",
        f"{head} \\\\",
    ]
    for model in table.models:
        lines += ["\\midrule", f"\\multicolumn{{{len(table.tasks) + 1}}}{{l}}{{{_tex(model)}}} \\\\"]
        for row in (r for r in table.rows if r.model == model):
            cells = [_cell(row.entries.get(t)) for t in table.tasks]
            mark = " (chosen on test documents)" if row.leaky else ""
            lines.append(" & ".join([_tex(row.variant) + mark, *cells]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "", *_all_numbers(table)]) + "\n"


_COLUMNS = (
    *("model", "variant", "task", "n", "chance", "score", "score_low", "score_high", "difference", "difference_low"),
    *(
        "difference_high",
        "adjusted_p",
        "verdict",
        "resolvable",
        "touched",
        "prompt_tokens",
        "generated_tokens",
        "seconds",
    ),
)


def _all_numbers(table: Table) -> list[str]:
    """A second tabular with every number, fractions as fractions."""
    lines = [f"\\begin{{tabular}}{{lll{'r' * (len(_COLUMNS) - 3)}}}", "\\toprule"]
    lines += [" & ".join(_tex(c.replace("_", " ")) for c in _COLUMNS) + " \\\\", "\\midrule"]
    for record in records(table):
        values = [record[c] for c in _COLUMNS]
        texts = ["" if v is None else f"{v:.4g}" if isinstance(v, float) else _tex(str(v)) for v in values]
        lines.append(" & ".join(texts) + " \\\\")
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _cell(entry: Entry | None) -> str:
    if entry is None:
        return "--"
    comparison = entry.pairing.comparison if entry.pairing else None
    text = f"{percent(entry.score.value)} {interval(entry.score)}"
    if comparison is not None:
        text = f"{percent(entry.score.value)} (${points(comparison.difference.value)}$)"
    style = {"gain": "\\textbf", "regression": "\\textit"}.get(entry.verdict)
    return f"{style}{{{text}}}" if style else text
