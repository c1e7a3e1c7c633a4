"""What matters to each system, by part and layer: the paper's scatter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.figures import save_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGIONS = "regions.json"
_KEYS = ("part", "layer", "elements", "system1", "system2", "shared", "importance1", "importance2")
_LARGEST = 420.0  # area of the largest point, in square points
Rows = Mapping[str, Mapping[str, Any]]


def load_regions(folder: Path) -> dict[str, dict[str, Any]]:
    """What a training measured, by weight: sizes of its regions, and sums of importance.

    Raises:
        ValueError: if there is nothing to read.
    """
    path = folder / REGIONS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {str(name): {key: row[key] for key in _KEYS} for name, row in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read: {error}. A LoRA-PAR variant with a mask writes it.") from error
    if not rows:
        raise ValueError(f"{path} holds no weight")
    return rows


def write_figure(folder: Path) -> list[Path]:
    """Draws ``regions.json`` of a folder as ``regions.png`` and ``regions.svg``.

    Raises:
        ValueError: if matplotlib is not installed, or there is nothing to draw.
    """
    rows = load_regions(folder)
    return save_figures(folder, {"regions": lambda: _draw(rows)})


def _draw(rows: Rows) -> Figure:
    from matplotlib.figure import Figure

    parts = list(dict.fromkeys(str(row["part"]) for row in rows.values()))
    layers = sorted({int(row["layer"]) for row in rows.values()})
    width = max(8.5, 4.0 + 0.36 * len(layers))
    figure = Figure(figsize=(width, 1.2 + 0.46 * len(parts) + 3.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1.0 + 0.4 * len(parts), 3.4])
    shares = {name: _shares(rows, name) for name in ("importance1", "importance2")}
    largest = max(max(found.values()) for found in shares.values())
    for column, (key, title) in enumerate((("importance1", "System 1"), ("importance2", "System 2"))):
        axes = figure.add_subplot(grid[0, column])
        _scatter(axes, rows, shares[key], largest, parts, layers)
        axes.set_title(f"importance to {title}, % of the whole")
    _compare(figure.add_subplot(grid[1, 0]), rows, shares, parts)
    _sizes(figure.add_subplot(grid[1, 1]), rows, parts)
    return figure


def _shares(rows: Rows, key: str) -> dict[str, float]:
    total = sum(float(row[key]) for row in rows.values())
    return {name: float(row[key]) / total if total else 0.0 for name, row in rows.items()}


def _scatter(
    axes: Axes, rows: Rows, shares: Mapping[str, float], largest: float, parts: list[str], layers: list[int]
) -> None:
    """One point a weight; its area is its share."""
    axes.scatter(
        [int(row["layer"]) for row in rows.values()],
        [parts.index(str(row["part"])) for row in rows.values()],
        s=[_LARGEST * shares[name] / largest for name in rows],
        c=[f"C{parts.index(str(row['part']))}" for row in rows.values()],
        alpha=0.8,
        linewidths=0,
    )
    if len(rows) <= 48:
        for name, row in rows.items():
            axes.annotate(
                f"{100 * shares[name]:.1f}", (int(row["layer"]), parts.index(str(row["part"]))),
                (0, -8 - (_LARGEST * shares[name] / largest) ** 0.5 / 2),
                textcoords="offset points", ha="center", fontsize=6,
            )  # fmt: skip
    axes.set_yticks(range(len(parts)), parts)
    axes.set_ylim(len(parts) - 0.3, -0.6)
    axes.set_xticks(layers if len(layers) <= 16 else layers[:: max(1, len(layers) // 12)])
    axes.set_xlim(layers[0] - 0.6, layers[-1] + 0.6)
    axes.set_xlabel("layer")


def _compare(axes: Axes, rows: Rows, shares: Mapping[str, Mapping[str, float]], parts: list[str]) -> None:
    """System 2 against System 1: what lies off the diagonal matters to one more than to the other."""
    for part in parts:
        names = [name for name, row in rows.items() if row["part"] == part]
        axes.scatter(
            [100 * shares["importance1"][n] for n in names],
            [100 * shares["importance2"][n] for n in names],
            label=part, s=24, alpha=0.8, linewidths=0, color=f"C{parts.index(part)}",
        )  # fmt: skip
    most = 105 * max(max(found.values()) for found in shares.values())
    axes.plot([0, most], [0, most], color="0.7", linewidth=0.8, zorder=0)
    axes.set(xlim=(0, most), ylim=(0, most), xlabel="share for System 1, %", ylabel="share for System 2, %")
    axes.legend(frameon=False, fontsize=7)
    axes.set_title("one against the other, a point a weight")


def _sizes(axes: Axes, rows: Rows, parts: list[str]) -> None:
    """Elements of the regions, by part."""
    left = [0.0] * len(parts)
    totals = {p: sum(int(r["elements"]) for r in rows.values() if r["part"] == p) for p in parts}
    for label, color, count in (
        ("System 1 alone", "C0", lambda r: r["system1"] - r["shared"]),
        ("both", "0.55", lambda r: r["shared"]),
        ("System 2 alone", "C3", lambda r: r["system2"] - r["shared"]),
    ):
        values = [100 * sum(count(r) for r in rows.values() if r["part"] == p) / totals[p] for p in parts]
        axes.barh(parts, values, left=left, label=label, color=color, height=0.6)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="elements of the adapter, %")
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    axes.set_title("regions by part")
