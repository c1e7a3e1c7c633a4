"""The Delta stethoscope's tables: Markdown for people, JSON for machines."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
from tabulate import tabulate

from harness.anatomy import PARTS
from harness.stethoscope.modality import DRAWS, LEAST, PROMINENCE, SAMPLE, SEED, SMOOTH, Modality, modality
from harness.stethoscope.weights import BINS, Delta

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
HEADERS = ["part", "tensors", "elements", "norm", "relative", "rms", "unchanged", "beyond ±1", "peaks", "dip", "p"]
HEADERS += ["two peaks in"]
LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")

_LEGEND = """*norm* is ‖B - A‖₂, the paper's measure, which grows with a tensor's size; *relative* is norm / ‖A‖₂, *rms* norm / √elements:
medians over the part's tensors, with the smallest and the largest. *unchanged*: elements equal in both. *beyond ±1*: of the elements that are
not 0 in A, those whose relative change (B - A) / A lies outside -1 to 1; the histogram leaves them out. *peaks*, *dip*, *p*: of the
histogram of all the part's tensors together; *two peaks in*: tensors with two or more, of those with enough elements to tell."""  # noqa: E501 - a page's lines
_PEAKS = f"""Histograms have {BINS} bins between -1 and 1. Peaks are those of the histogram smoothed by a Gaussian of {SMOOTH:g} bins that stand
out by {PROMINENCE:.0%} of the highest; fewer than {LEAST:,} elements are not judged. The dip (Hartigan & Hartigan 1985) is that of {SAMPLE:,} values drawn from the histogram (seed {SEED})
and spread within their bins; p compares it with {DRAWS} uniform samples and is not adjusted. The paper judged by eye."""  # noqa: E501


@dataclass(frozen=True)
class Judged:
    """A measured part with the peaks of its histogram; None where it has too few elements to tell."""

    delta: Delta
    modality: Modality | None


@dataclass(frozen=True)
class Result:
    """A whole comparison.

    Attributes:
        base: name of checkpoint A.
        other: name of checkpoint B.
        source: what made it: paths, dtypes, versions, command.
        rows: everything measured, in the model's order.
    """

    base: str
    other: str
    source: dict[str, Any]
    rows: tuple[Judged, ...]


def judge(base: str, other: str, source: dict[str, Any], deltas: Sequence[Delta]) -> Result:
    """Counts peaks and puts everything together."""
    return Result(base, other, source, tuple(Judged(d, modality(d.counts)) for d in deltas))


def label(delta: Delta) -> str:
    """A part's name, with its bias told apart."""
    return f"{delta.part} bias" if delta.is_bias else delta.part


def by_part(result: Result) -> dict[str, list[Judged]]:
    """Everything measured by part, biases apart, in the anatomy's order."""
    out: dict[str, list[Judged]] = defaultdict(list)
    for row in sorted(result.rows, key=lambda r: (r.delta.is_bias, PARTS.index(r.delta.part))):
        out[label(row.delta)].append(row)
    return out


def markdown(result: Result) -> str:
    """The page: parts, leaders, layers, and how to read them."""
    groups = by_part(result)
    rows = [_part(name, group) for name, group in groups.items()]
    lines = [
        f"# Delta stethoscope: {result.base} (A) to {result.other} (B)",
        "## By part",
        tabulate(rows, headers=HEADERS, tablefmt="github", disable_numparse=True),
        _LEGEND,
        "## Which part moved most",
        _leaders(result),
        "## By layer",
        _layers(groups, "norm", lambda d: d.norm),
        _layers(groups, "relative", lambda d: d.relative),
        "## How peaks are counted",
        _PEAKS,
        "## What made this",
        "\n".join(f"- {key}: {value}" for key, value in result.source.items()),
    ]
    return "\n\n".join(lines) + "\n"


def records(result: Result) -> dict[str, Any]:
    """The same, for machines; everything that the page rounds is whole here."""
    rows = [
        {
            **{k: v for k, v in asdict(r.delta).items() if k != "counts"},
            "relative": None if math.isinf(r.delta.relative) else r.delta.relative,
            "rms": r.delta.rms,
            "counts": r.delta.counts.tolist(),
            "modality": asdict(r.modality) if r.modality else None,
        }
        for r in result.rows
    ]
    return {
        "format": 1,
        "base": result.base,
        "other": result.other,
        "source": result.source,
        "bins": BINS,
        "rows": rows,
    }


def _part(name: str, rows: list[Judged]) -> list[str]:
    deltas = [r.delta for r in rows]
    elements = sum(d.elements for d in deltas)
    defined = sum(d.elements * (1 - d.undefined) for d in deltas)
    outside = sum(d.outside * d.elements * (1 - d.undefined) for d in deltas) / defined if defined else 0.0
    judged = [r.modality for r in rows if r.modality]
    pooled = modality(np.sum([d.counts for d in deltas], axis=0))
    return [
        name,
        str(len(rows)),
        f"{elements:,}",
        *(
            _spread([measure(d) for d in deltas])
            for measure in (lambda d: d.norm, lambda d: d.relative, lambda d: d.rms)
        ),
        f"{sum(d.unchanged * d.elements for d in deltas) / elements:.1%}",
        f"{outside:.1%}",
        *([str(len(pooled.peaks)), f"{pooled.dip:.4f}", f"{pooled.p:.3f}"] if pooled else ["", "", ""]),
        f"{sum(len(m.peaks) > 1 for m in judged)} of {len(judged)}" if judged else "",
    ]


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def _leaders(result: Result) -> str:
    """In how many layers each weight moved farther than the others."""
    lines = []
    for among, parts in (("attention", ATTENTION), ("all linear parts", LINEAR)):
        for name, measure in (("norm", lambda d: d.norm), ("relative", lambda d: d.relative)):
            layers: dict[int, dict[str, float]] = defaultdict(dict)
            for row in result.rows:
                d = row.delta
                if d.part in parts and not d.is_bias and d.layer is not None:
                    layers[d.layer][d.part] = measure(d)
            if not layers or max(len(values) for values in layers.values()) < 2:
                continue
            first = [max(values, key=lambda part: values[part]) for values in layers.values()]
            counts = sorted({p: first.count(p) for p in first}.items(), key=lambda item: -item[1])
            lines.append(f"- {among}, by {name}: " + ", ".join(f"{p} in {n} of {len(first)} layers" for p, n in counts))
    return "\n".join(lines) or "Fewer than two linear parts were chosen."


def _layers(groups: dict[str, list[Judged]], name: str, measure: Callable[[Delta], float]) -> str:
    columns = {
        key: {r.delta.layer: _one(rows, r.delta.layer, measure) for r in rows if r.delta.layer is not None}
        for key, rows in groups.items()
    }
    columns = {key: values for key, values in columns.items() if values}
    layers = sorted({layer for values in columns.values() for layer in values if layer is not None})
    rows = [[str(layer), *(f"{v[layer]:.3g}" if layer in v else "" for v in columns.values())] for layer in layers]
    return tabulate(rows, headers=[f"layer: {name}", *columns], tablefmt="github", disable_numparse=True)


def _one(rows: list[Judged], layer: int | None, measure: Callable[[Delta], float]) -> float:
    """A layer's measure; where it has several tensors of a part (norms), the largest."""
    return max(measure(r.delta) for r in rows if r.delta.layer == layer)
