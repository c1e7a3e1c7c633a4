"""The circuit drawn, layers by heads, and performance over sparsity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.circuits.artifact import JSON
from harness.circuits.nodes import Head, parse_heads
from harness.figures import save_figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Queries, keys and values of one head come in from different sides, in different lines.
_STYLES: Mapping[str, Any] = {"q": "-", "k": "--", "v": ":"}
_BENDS = {"q": 0.0, "k": 0.18, "v": -0.18}
_HARM, _HELP = "C0", "C3"  # corrupting the sender takes the answer away, or makes it better


def write_figures(folder: Path) -> list[Path]:
    """Draws ``circuit.json`` of a folder: the circuit, and the curve if its method swept over sparsity.

    Raises:
        ValueError: if matplotlib is not installed, or there is nothing to draw.
    """
    try:
        record = json.loads((folder / JSON).read_text(encoding="utf-8"))
        heads = parse_heads(record["heads"])
        shape = int(record["layers"]), int(record["heads_per_layer"])
        edges = [(str(r), Head.parse(s), float(m)) for r, s, m, _ in record.get("edges", [])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / JSON} cannot be drawn: {error}") from error
    title = f"{record.get('task', '')}, {record.get('method', '')}: {len(heads)} of {shape[0] * shape[1]} heads"
    group = int(record.get("group", 1))
    figures = {"circuit": lambda: draw_circuit(heads, shape, edges, title, group)}
    if curve := record.get("found", {}).get("curve"):
        figures["curve"] = lambda: draw_curves({record["method"]: curve}, {record["method"]: record["found"]["cliffs"]})
    return save_figures(folder, figures)


def draw_circuit(
    heads: Sequence[Head], shape: tuple[int, int], edges: Sequence[tuple[str, Head, float]], title: str, group: int = 1
) -> Figure:
    """Layers from the bottom to the top, heads from left to right, the logits above all.

    Args:
        heads: the circuit.
        shape: layers and heads a layer.
        edges: receiver, sender and effect.
        title: what is drawn.
        group: query heads that share a key and a value.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    layers, width = shape
    figure = Figure(figsize=(max(5.4, 0.42 * width + 2.4), max(4.0, 0.5 * layers + 2.3)), layout="constrained")
    axes = figure.add_subplot()
    every = [(h, i) for i in range(layers) for h in range(width)]
    axes.scatter(
        [x for x, _ in every], [y for _, y in every], s=46, facecolors="white", edgecolors="0.8", linewidths=0.8
    )
    kept = sorted({(h.head, h.layer) for h in heads})
    top = ((width - 1) / 2, layers + 0.4)
    largest = max((abs(m) for _, _, m in edges), default=1.0)
    for receiver, sender, mean in edges:
        kind = receiver.rpartition(".")[2]
        for end in [top] if receiver == "logits" else _places(receiver, kind, kept, group):
            axes.annotate(
                "", end, (sender.head, sender.layer),
                arrowprops={
                    "arrowstyle": "-|>", "color": _HARM if mean < 0 else _HELP, "alpha": 0.75, "shrinkA": 6,
                    "shrinkB": 7, "linewidth": 0.6 + 3.0 * abs(mean) / largest, "linestyle": _STYLES.get(kind, "-"),
                    "connectionstyle": f"arc3,rad={_BENDS.get(kind, 0.0)}",
                },
            )  # fmt: skip
    axes.scatter([x for x, _ in kept], [y for _, y in kept], s=150, color="0.25", zorder=3)
    for x, y in kept:
        axes.annotate(f"{y}.{x}", (x, y), ha="center", va="center", fontsize=5, color="white", zorder=4)
    frame = {"boxstyle": "round", "facecolor": "0.95", "edgecolor": "0.6"}
    axes.text(*top, "logits", ha="center", va="center", bbox=frame)
    axes.set(xlim=(-0.7, width - 0.3), ylim=(-0.7, layers + 0.9), xlabel="head", ylabel="layer", title=title)
    axes.set_xticks(range(width))
    axes.set_yticks(range(layers))
    if edges:
        lines = [Line2D([], [], color=c, linewidth=2) for c in (_HARM, _HELP)]
        lines += [Line2D([], [], color="0.4", linestyle=style) for style in _STYLES.values()]
        names = [
            f"corrupting it harms (widest: {largest:.2f})",
            "corrupting it helps",
            "query (or logits)",
            "key",
            "value",
        ]
        figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False, fontsize=7)
    return figure


def draw_curves(
    curves: Mapping[str, Mapping[str, Any]],
    points: Mapping[str, Mapping[str, float]],
    single: Mapping[str, tuple[float, float]] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Figure:
    """Performance over sparsity.

    Args:
        curves: method -> ``sparsities`` and ``performance``.
        points: method -> cliff points, drawn on its curve.
        single: method -> sparsity and performance of a circuit without a curve, on other prompts.
        labels: method -> its name.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    names = labels or {}
    for number, (method, curve) in enumerate(curves.items()):
        axes.step(
            [100 * s for s in curve["sparsities"]], [100 * p for p in curve["performance"]], where="post",
            color=f"C{number}", linewidth=1.3, label=names.get(method, method),
        )  # fmt: skip
        known = dict(zip(curve["sparsities"], curve["performance"], strict=True))
        marks = [(100 * s, 100 * known[s]) for s in dict.fromkeys(points.get(method, {}).values()) if s in known]
        axes.scatter([x for x, _ in marks], [y for _, y in marks], s=18, color=f"C{number}", zorder=3)
    for number, (method, (sparsity, value)) in enumerate((single or {}).items()):
        axes.scatter(
            [100 * sparsity], [100 * value], marker="*sDP^"[number % 5], s=70, color="0.15", zorder=4,
            label=f"{names.get(method, method)} (other prompts)",
        )  # fmt: skip
    title = "lines: on the prompts of the choice; dots: cliff points, the candidates"
    axes.set_title(f"{title}; other marks: verified on other prompts" if single else title, fontsize=8)
    _frame(axes)
    return figure


def _frame(axes: Axes) -> None:
    axes.axhline(100, color="0.7", linewidth=0.8, zorder=0)
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.set(xlabel="heads left out, %", ylabel="performance above the floor, %", xlim=(0, 103))
    axes.legend(frameon=False, fontsize=7)


def _places(receiver: str, kind: str, kept: Sequence[tuple[int, int]], group: int) -> list[tuple[int, int]]:
    """Where a receiver is drawn: a key or a value at every head of the circuit that shares it."""
    head = Head.parse(receiver.rpartition(".")[0])
    if kind == "q":
        return [(head.head, head.layer)]
    shared = range(head.head * group, (head.head + 1) * group)
    return [(x, y) for x, y in kept if y == head.layer and x in shared]
