"""A paper's circuits beside the measured ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from harness.circuits.artifact import JSON
from harness.circuits.cost import Cost
from harness.circuits.tables import LABELS, percent
from harness.config.circuits import CircuitConfig
from harness.config.published_circuits import PublishedCircuits

# Fingerprint of a model, and settings.
Made = tuple[str | None, dict[str, Any]]


def published_lines(
    block: PublishedCircuits, folder: Path, fingerprint: str | None, settings: CircuitConfig
) -> list[str]:
    """A block of published numbers as a Markdown table, each beside ours where we have it.

    Args:
        block: the numbers.
        folder: where circuits lie, as ``TASK/METHOD/circuit.json``.
        fingerprint: of the block's model; None where another one was measured.
        settings: of this run; circuits of others are not told.
    """
    heads = [
        "task",
        "method",
        "performance %",
        "heads",
        "left out %",
        "TPR %",
        "precision %",
        "times fewer FLOPs",
        "measured here",
    ]
    made = fingerprint, json.loads(json.dumps(asdict(settings)))
    rows = []
    for row in block.rows:
        rows.append(
            [
                row.task,
                LABELS.get(row.method, row.method),
                "" if row.performance is None else percent(row.performance),
                "" if row.size is None else row.size,
                "" if row.size is None else percent(1 - row.size / block.heads),
                "" if row.tpr is None else percent(row.tpr),
                "" if row.precision is None else percent(row.precision),
                "" if row.ratio is None else f"{row.ratio:.2f}",
                _measured(folder / row.task, row.method, made) if fingerprint is not None else "",
            ]
        )
    filled = [i for i in range(len(heads)) if any(row[i] != "" for row in rows)]  # columns of which nothing is said go
    heads, rows = [heads[i] for i in filled], [[row[i] for i in filled] for row in rows]
    lines = [f"## Published: {block.source}, {block.model} ({block.heads} heads)", ""]
    if block.note:
        lines += [block.note, ""]
    return [*lines, *tabulate(rows, heads, tablefmt="github", disable_numparse=True).splitlines()]


def _measured(folder: Path, method: str, made: Made) -> str:
    """Ours in words; APP's with its FLOPs beside path patching's."""
    found = _read(folder / method / JSON, made)
    if found is None:
        return ""
    v = found["verified"]
    raw = "" if v["raw"] is None else f"{percent(v['raw'])} % "
    text = f"{raw}with {v['size']} heads (above the floor {percent(v['faithfulness']['value'])} %)"
    whole = _read(folder / "path_patching" / JSON, made) if method == "app" else None
    if whole is None:
        return text
    flops = [Cost.of_record(f["cost"]).total_flops for f in (whole, found)]
    alone = Cost.of_record(found["found"]["path_patching_cost"]).total_flops
    ratios = f"{flops[0] / flops[1]:.2f} times fewer FLOPs ({flops[0] / alone:.2f} without the search for the hybrid)"
    return f"{text}; {ratios}"


def _read(file: Path, made: Made) -> dict[str, Any] | None:
    """A circuit's record, if it is there, of this model and by these settings."""
    if not file.is_file():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record if (record["fingerprint"], record["config"]) == made else None
