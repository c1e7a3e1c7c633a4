"""The dry-run plan of a variant: which tensors, how many parameters, from where."""

from __future__ import annotations

from itertools import groupby

from tabulate import tabulate

from harness.models import Base
from harness.patch import Change, Patch


def plan_text(base: Base, label: str, patch: Patch) -> str:
    """A table with a line for each part and run of layers, and the totals."""
    total = sum(p.numel() for p in base.model.parameters())
    head = f"{label} on {base.name}: {patch.provenance.method}"
    if patch.is_empty:
        return f"{head}, nothing is touched ({total:,} parameters)"
    key = lambda c: (c.part, c.source, c.layer is None)  # noqa: E731 - sort and group by one key
    rows = []
    for _, group in groupby(sorted(patch.provenance.changes, key=key), key=key):
        rows.append(_row(list(group)))
    touched = patch.provenance.touched
    summary = f"{touched:,} of {total:,} parameters touched ({touched / total:.2%}); digest {patch.digest[:12]}"
    extra = f"\nlayers kept: {list(patch.kept_layers)}" if patch.kept_layers is not None else ""
    extra += "\nhead and embedding are untied" if patch.untied else ""
    extra += f"\n{patch.router.summary}" if patch.router is not None else ""
    table = tabulate(rows, headers=["part", "layers", "tensors", "parameters", "from", "example"], intfmt=",")
    return f"{head}\n{table}\n{summary}{extra}"


def _row(changes: list[Change]) -> list[object]:
    first = changes[0]
    layers = sorted({c.layer for c in changes if c.layer is not None})
    names = {c.name for c in changes}
    return [first.part, _runs(layers) or "-", len(names), sum(c.parameters for c in changes), first.source, first.name]


def _runs(layers: list[int]) -> str:
    """``[0, 1, 2, 5]`` as ``0:3, 5:6``."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and runs[-1][1] == layer:
            runs[-1][1] = layer + 1
        else:
            runs.append([layer, layer + 1])
    return ", ".join(f"{a}:{b}" for a, b in runs)
