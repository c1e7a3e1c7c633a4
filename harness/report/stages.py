"""How variants of two stages were trained: the division, the regions, and each stage (LoRA-PAR)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harness.report.lines import line

if TYPE_CHECKING:
    from harness.report.rows import Row, Table

_LEGEND = (
    "Means over the seeds. Items: training items of System 1 and System 2 as they were divided, and the share of them "
    "put right where the truth is known; kappa: agreement of those who voted (Fleiss). Regions: elements of the "
    "adapter that matter to each system, and Jaccard's index of the two. Trained: elements that a stage trains. Rates: "
    "the learning rate of each seed, chosen on held-back items, and the share of these that was answered rightly. RL: "
    "mean reward of the first step and of the last tenth, distance to the base in nats a token, and groups whose "
    "answers were all worth the same, from which nothing is learned."
)
Measured = Sequence[dict[str, Any]]


def stages(table: Table) -> list[str]:
    """Lines of the section, or none where no variant was trained in stages."""
    rows = [(row, found) for row in table.rows if (found := _trained(row))]
    if not rows:
        return []
    columns = [c for c in _COLUMNS if any(c[1](found) for _, found in rows)]
    lines = [line(["model", "variant", *(head for head, _ in columns)]), line(["---", "---", *["---:"] * len(columns)])]
    for row, found in rows:
        lines.append(line([row.model, f"`{row.variant}`", *(show(found) for _, show in columns)]))
    return ["## Training", "", _LEGEND, "", *lines, ""]


def _trained(row: Row) -> Measured:
    """What each seed's training measured: the cells of one row are all of the same trainings."""
    longest: Measured = max((entry.trained for entry in row.entries.values()), key=len, default=())
    return [m for m in longest if "sft_active" in m or "rl_active" in m]


def _mean(found: Measured, key: str) -> float | None:
    values = [float(m[key]) for m in found if m.get(key) is not None]
    return sum(values) / len(values) if values else None


def _number(key: str, show: str = "{:,.0f}") -> Callable[[Measured], str]:
    return lambda found: "" if (value := _mean(found, key)) is None else show.format(value)


def _both(one: str, two: str, between: str, show: str = "{:.2f}") -> Callable[[Measured], str]:
    first, second = _number(one, show), _number(two, show)
    return lambda found: f"{first(found)}{between}{second(found)}" if first(found) else ""


def _right(found: Measured) -> str:
    known, right = _mean(found, "split_known"), _mean(found, "split_right")
    return f"{right / known:.1%} of {known:,.0f}" if known and right is not None else ""


def _rates(stage: str) -> Callable[[Measured], str]:
    def show(found: Measured) -> str:
        values = [(m.get(f"{stage}_learning_rate"), m.get(f"{stage}_held_back_score")) for m in found]
        return "<br>".join(f"{r:g}" + (f" ({s:.1%})" if s is not None else "") for r, s in values if r is not None)

    return show


_COLUMNS: tuple[tuple[str, Callable[[Measured], str]], ...] = (
    ("items 1 / 2", _both("split_system1", "split_system2", " / ", "{:,.0f}")),
    ("divided right", _right),
    ("kappa", _number("split_kappa", "{:.2f}")),
    ("elements", _number("region_elements")),
    ("regions 1 / 2", _both("region_system1", "region_system2", " / ", "{:,.0f}")),
    ("Jaccard", _number("region_jaccard", "{:.3f}")),
    ("SFT items", _number("sft_items")),
    ("SFT trained", _number("sft_active")),
    ("SFT rates", _rates("sft")),
    ("RL items", _number("rl_items")),
    ("RL trained", _number("rl_active")),
    ("RL rates", _rates("rl")),
    ("RL reward", _both("rl_first_reward", "rl_last_reward", " → ")),
    ("RL distance", _both("rl_first_distance", "rl_last_distance", " → ", "{:.4f}")),
    ("silent groups", _number("rl_silent", "{:.0%}")),
)
