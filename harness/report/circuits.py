"""What variants that are circuits keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.lines import line

if TYPE_CHECKING:
    from harness.report.rows import Row, Table

_LEGEND = (
    "Heads that stay; all others put out nothing or a constant, written into the weights. The tensors keep their "
    "shapes: the variant is neither smaller nor faster than its base. Droppable: parameters that a runtime whose "
    "layers may differ in heads could leave out."
)


def circuits(table: Table) -> list[str]:
    """Lines of the section, or none where no variant is a circuit."""
    rows = [(row, found) for row in table.rows if (found := _kept(row))]
    if not rows:
        return []
    lines = [line(["model", "variant", "heads", "which", "droppable"]), line(["---", "---", "---:", "---", "---:"])]
    for row, found in rows:
        total = found["heads_kept"] + found["heads_ablated"]
        share = f"{found['parameters_that_could_be_dropped']:,} ({found['share_that_could_be_dropped']:.1%})"
        kept = f"{found['heads_kept']:,} of {total:,}"
        lines.append(line([row.model, f"`{row.variant}`", kept, found["heads"] or "none", share]))
    return ["## Circuits", "", _LEGEND, "", *lines, ""]


def _kept(row: Row) -> dict[str, Any] | None:
    """What baking measured; the cells of one row are all of one patch, of one seed each."""
    for entry in row.entries.values():
        for measured in entry.trained:
            if "heads_kept" in measured:
                return measured
    return None
