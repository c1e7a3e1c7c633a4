"""The Delta stethoscope's two figures: parts x layers, and histograms of relative change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.figures import save_figures
from harness.stethoscope.delta_tables import Result, label
from harness.stethoscope.weights import BINS, Delta

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ANNOTATED = 14  # layers up to which a heat map shows its numbers


def write_figures(result: Result, folder: Path, every: int) -> list[Path]:
    """Writes ``heatmap`` and ``histograms`` as PNG and SVG.

    Args:
        result: what to draw.
        folder: where to.
        every: histograms show every so many layers.

    Raises:
        ValueError: if matplotlib is not installed.
    """
    drawn = {"heatmap": lambda: _heatmap(result), "histograms": lambda: _histograms(result, every)}
    return save_figures(folder, drawn, ", or figures=false")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _inside(result: Result) -> list[Delta]:
    """Weights of the layers' linear parts."""
    return [
        r.delta for r in result.rows if r.delta.layer is not None and not r.delta.is_bias and r.delta.part != "norm"
    ]


def _heatmap(result: Result) -> Figure:
    deltas = _inside(result) or [r.delta for r in result.rows]
    parts = list(dict.fromkeys(label(d) for d in deltas))
    layers = sorted({-1 if d.layer is None else d.layer for d in deltas})
    figure = _figure(max(6.0, 1.8 + 0.42 * len(layers)), 1.2 + 0.6 * len(parts) + 1.0)
    axes = figure.subplots(2, 1, squeeze=False)[:, 0]
    measures: tuple[tuple[str, Callable[[Delta], float]], ...] = (
        ("‖B - A‖₂", lambda d: d.norm),
        ("‖B - A‖₂ / ‖A‖₂", lambda d: d.relative),
    )
    for axis, (title, measure) in zip(axes, measures, strict=True):
        grid = np.full((len(parts), len(layers)), np.nan)
        for d in deltas:
            value = measure(d)
            grid[parts.index(label(d)), layers.index(-1 if d.layer is None else d.layer)] = value
        grid[~np.isfinite(grid)] = np.nan
        image = axis.imshow(grid, aspect="auto", cmap="viridis", interpolation="nearest")
        _ticks(axis, parts, layers)
        axis.set_title(title, loc="left")
        figure.colorbar(image, ax=axis, pad=0.01)
        if len(layers) <= ANNOTATED:
            _numbers(axis, grid)
    axes[-1].set_xlabel("layer")
    figure.suptitle(f"{result.base} (A) to {result.other} (B)", x=0.01, ha="left")
    return figure


def _ticks(axis: Axes, parts: list[str], layers: list[int]) -> None:
    step = max(1, len(layers) // 20)
    axis.set_yticks(range(len(parts)), parts)
    axis.set_xticks(range(0, len(layers), step), ["" if layer < 0 else str(layer) for layer in layers[::step]])
    for spine in axis.spines.values():
        spine.set_visible(False)


def _numbers(axis: Axes, grid: np.ndarray[Any, Any]) -> None:
    middle = np.nanmean([np.nanmin(grid), np.nanmax(grid)]) if np.isfinite(grid).any() else 0
    for (y, x), value in np.ndenumerate(grid):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axis.text(x, y, f"{value:.2g}", ha="center", va="center", color=colour, fontsize=8)


def _histograms(result: Result, every: int) -> Figure:
    deltas = _inside(result)
    shown = sorted({d.layer for d in deltas if d.layer is not None})[::every]
    parts = list(dict.fromkeys(d.part for d in deltas))
    columns = min(4, max(1, len(parts)))
    lines = max(1, -(-len(parts) // columns))
    figure = _figure(3.1 * columns, 2.3 * lines + 0.6)
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True)
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 0.9, max(1, len(shown))))
    for axis, part in zip(axes.flat, parts, strict=False):
        for colour, layer in zip(colours, shown, strict=True):
            for d in deltas:
                if d.part == part and d.layer == layer and d.counts.max():
                    axis.plot(middles, d.counts / d.counts.max(), color=colour, linewidth=1, label=f"layer {layer}")
        axis.set_title(part, loc="left")
        axis.set_ylim(0, 1.05)
    for axis in list(axes.flat)[len(parts) :]:
        axis.set_visible(False)
    for axis in list(axes.flat)[max(0, len(parts) - columns) : len(parts)]:
        axis.set_xlabel("relative change")
        axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of highest bin")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    figure.suptitle(f"(B - A) / A: {result.base} (A) to {result.other} (B)", x=0.01, ha="left")
    return figure
