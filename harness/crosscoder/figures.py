"""A crosscoder study as pictures: the training's course, RelIE, and what becomes of latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from harness.crosscoder.choose import Choice, Course
from harness.crosscoder.flow import Step
from harness.crosscoder.relative import OTHER, SHARED, SPECIFIC, UNCLASSED, Relative, class_names, shared_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C8", "C9")
_HEIGHT = 3**0.5 / 2


def colours(names: Sequence[str]) -> Mapping[str, str]:
    """Colour of each class."""
    out = dict(zip(class_names(names), _COLOURS * 4, strict=False))
    return {**out, OTHER: "0.45", UNCLASSED: "0.85"}


def draw_course(found: Course, choice: Choice | None, measure: str) -> Figure:
    """Accuracy over checkpoints, and how alike each two are."""
    from matplotlib.figure import Figure

    count = len(found.names)
    figure = Figure(figsize=(max(8.0, 5 + 0.75 * count), max(3.4, 1.4 + 0.36 * count)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for i, (group, cells) in enumerate(found.accuracy.items()):
        values = [100 * c.value for c in cells]
        errors = [[100 * (c.value - c.low) for c in cells], [100 * (c.high - c.value) for c in cells]]
        label = f"{group} (n={found.items[group]})"
        left.errorbar(range(count), values, errors, marker="o", ms=4, capsize=2, color=f"C{i % 10}", label=label)
    left.axhline(50, color="0.7", lw=0.8)
    for index in choice.indices if choice is not None else ():
        left.axvline(index, color="0.6", lw=0.8, ls=":")
    left.set_ylabel("right continuation likelier, %")
    left.set_ylim(0, 103)
    left.legend(frameon=False, fontsize=8, loc="best")
    left.set_title("dotted: chosen; grey: chance" if choice is not None else "grey: chance", fontsize=9)
    like = found.likeness[measure]
    image = right.imshow(like.numpy(), vmin=0, vmax=1, cmap="viridis")
    for i in range(count):
        for j in range(count):
            value = float(like[i, j])
            right.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="w" if value < 0.6 else "k")
    right.set_title(
        f"activations behind layer {found.layer}: {measure.upper() if measure == 'cka' else measure}", fontsize=9
    )
    figure.colorbar(image, ax=right, shrink=0.8)
    for axis in (left, right):
        axis.set_xticks(range(count), found.names, rotation=45, ha="right", fontsize=8)
    right.set_yticks(range(count), found.names, fontsize=8)
    return figure


def draw_norms(share_KM: Tensor, names: Sequence[str]) -> Figure:
    """RelDec of the live latents: each model's share of their decoder norms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(names) + 0.8, 2.7), layout="constrained")
    grid = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for m, axes in enumerate(grid):
        axes.hist(share_KM[:, m].tolist(), bins=[i / 25 for i in range(26)], color=f"C{m}")
        axes.axvline(1 / len(names), color="0.4", lw=0.8)
        for level in (shared_from(len(names)), SPECIFIC):
            axes.axvline(level, color="0.6", lw=0.7, ls=":")
        axes.set_xlabel(f"RelDec of {names[m]}")
    grid[0].set_ylabel("live latents")
    figure.suptitle("solid: an even share; dotted: shared from, specific from", fontsize=8)
    return figure


def draw_relative(found: Relative, names: Sequence[str]) -> Figure:
    """RelIE of every latent: for three models in a triangle, else each model's share as a histogram."""
    from matplotlib.figure import Figure

    if len(names) != 3:
        return _histograms(found, names)
    figure = Figure(figsize=(6.6, 5.6), layout="constrained")
    axes = figure.subplots()
    strength = found.effect_KM.abs().amax(dim=1)
    top = max(float(strength.max()), 1e-12)
    _triangle(axes, names)
    for name in reversed(class_names(names)):
        chosen = [i for i, c in enumerate(found.classes) if c == name]
        if not chosen:
            continue
        points = [_place(found.share_KM[i].tolist()) for i in chosen]
        sizes = [6 + 220 * float(strength[i]) / top for i in chosen]
        colour, classed = colours(names)[name], name != UNCLASSED
        x, y = zip(*points, strict=True)
        style: Any = {"edgecolor": "k", "lw": 0.3, "alpha": 0.7} if classed else {"lw": 0}
        axes.scatter(x, y, s=sizes, color=colour, zorder=2 if classed else 1, **style)
        axes.scatter([], [], s=40, color=colour, label=f"{name} ({len(chosen)})")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0.72, 1))
    axes.set_title("RelIE: each latent's share of its effects; size: its largest effect", fontsize=9)
    return figure


def _place(share: Sequence[float]) -> tuple[float, float]:
    """The first model at the lower left, the second at the top, the third at the lower right."""
    _, top, right = share
    return right + top / 2, top * _HEIGHT


def _triangle(axes: Axes, names: Sequence[str]) -> None:
    corners = [_place(c) for c in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    axes.plot(*zip(*corners, corners[0], strict=True), color="k", lw=0.8)
    for m in range(3):
        for level, style in ((SPECIFIC, "--"), (SHARED, ":")):
            rest = 1 - level
            ends = []
            for other in range(3):
                if other != m:
                    share = [0.0, 0.0, 0.0]
                    share[m], share[other] = level, rest
                    ends.append(_place(share))
            axes.plot(*zip(*ends, strict=True), color="0.7", lw=0.7, ls=style)
    for (x, y), name, (ha, va) in zip(
        corners, names, (("left", "top"), ("center", "bottom"), ("right", "top")), strict=True
    ):
        axes.text(x, y + (0.02 if va == "bottom" else -0.03), f"{name} alone", ha=ha, va=va, fontsize=9)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _histograms(found: Relative, names: Sequence[str]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(names) + 1, 3.0), layout="constrained")
    grid = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    order = [c for c in class_names(names) if c != UNCLASSED]
    for m, axes in enumerate(grid):
        values = [[float(found.share_KM[i, m]) for i, c in enumerate(found.classes) if c == name] for name in order]
        axes.hist(
            values,
            bins=[i / 20 for i in range(21)],
            stacked=True,
            color=[colours(names)[c] for c in order],
            label=order,
        )
        for level in (shared_from(len(names)), SPECIFIC):
            axes.axvline(level, color="0.6", lw=0.7, ls=":")
        axes.set_xlabel(f"share of {names[m]}")
    grid[0].set_ylabel("classed latents")
    grid[-1].legend(frameon=False, fontsize=7)
    return figure


def draw_flow(steps: Sequence[Step], names: Sequence[str]) -> Figure:
    """Latents at work in each model, and how many of them emerged, stayed or were lost on the way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 + 2.6 * len(steps), 3.8), layout="constrained")
    axes = figure.subplots()
    most = max([s.emerged + s.stayed for s in steps] + [s.stayed + s.lost for s in steps] + [1])
    for i, step in enumerate(steps):
        if step.stayed:
            axes.fill_between([i, i + 1], 0, step.stayed, color="C2", alpha=0.35, lw=0)
            axes.text(i + 0.5, step.stayed / 2, f"stayed {step.stayed}", ha="center", va="center", fontsize=8)
        # What is lost ends on the way, what emerges begins on it: the wedges do not cross.
        for word, count, near, point, ha in (
            ("lost", step.lost, i, i + 0.42, "left"),
            ("emerged", step.emerged, i + 1, i + 0.58, "right"),
        ):
            if count:
                middle = step.stayed + count / 2
                edges = [step.stayed, middle], [step.stayed + count, middle]
                colour = "C3" if word == "lost" else "C0"
                axes.fill_between([near, point], *edges, color=colour, alpha=0.35, lw=0)
                inset = 0.05 if word == "lost" else -0.05
                axes.text(near + inset, middle, f"{word} {count}", ha=ha, va="center", fontsize=8)
    totals = [steps[0].stayed + steps[0].lost, *(s.stayed + s.emerged for s in steps)]
    for i, (name, total) in enumerate(zip(names, totals, strict=True)):
        axes.plot([i, i], [0, max(total, most * 0.01)], color="k", lw=4, solid_capstyle="butt")
        axes.text(i, -most * 0.04, f"{name}\n{total}", ha="center", va="top", fontsize=9)
    axes.set_xlim(-0.3, len(steps) + 0.3)
    axes.set_ylim(-most * 0.25, most * 1.05)
    axes.set_axis_off()
    bound = shared_from(len(names))
    axes.set_title(f"latents at work on the task (RelIE at least {bound:.2g}), from model to model", fontsize=9)
    return figure
