"""The page of an experiment: a paper's numbers beside the measured ones, both with their intervals and tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.config.compose import compose_model
from harness.config.experiments import Published, PublishedRow
from harness.report.levels import LevelRow, LevelTable, level_text, tokens_text
from harness.report.lines import line
from harness.report.markdown import MARKS, interval, named, p_value, percent, points
from harness.report.published import Claimed, claims, kept
from harness.report.rows import Row, Table
from harness.statistics import ALPHA

_LEGEND = (
    "Published: scores as printed, in percent, with the 95% interval (Wilson) that their number of documents gives, "
    "and Fisher's exact p against the block's baseline, Holm-adjusted over the block (a paper prints no outcomes by "
    "document, so nothing is paired, which is cautious). Measured: score with its interval, Δ to the baseline on the "
    "same documents with its paired interval, and p (exact McNemar or permutation), Holm-adjusted over this folder's "
    "table; ▲ resolved gain, ▼ resolved regression, no mark: unresolved, which does not mean unchanged. Levels: counts "
    "of answers, judged as levels.md says."
)


def experiment_page(table: Table, levels: LevelTable) -> str | None:
    """The page of published beside measured numbers, or None where no paper's were kept."""
    try:
        blocks = kept(table.folder)
        papers = {id(block): _Paper(block, claims(block)) for block in blocks}
    except ValueError as error:
        return f"# Published and measured\n\n- ⚠ left out: {error}\n"
    if not blocks:
        return None
    parts = ["# Published and measured", "", _LEGEND, ""]
    for model in table.models:
        measured = _Measured(
            {r.variant: r for r in table.rows if r.model == model},
            table.tasks,
            {j.task: {r.variant: r for r in rows} for j, rows in levels.tasks if j.model == model},
        )
        own = [b for b in blocks if model.partition("@")[0] in _names(b.model)]
        for block in own or blocks:
            parts += _section(model, measured, papers[id(block)], table.baseline, other=not own)
    return "\n".join(parts)


def _names(model: str) -> set[str]:
    """What tables call a model that a block names: by its name, or by the hub id that the name stands for."""
    try:
        return {model, compose_model(compose_model(model)[1].path)[0]}
    except ValueError:
        return {model}


def _section(model: str, measured: _Measured, paper: _Paper, baseline: str, other: bool) -> list[str]:
    """One block beside one measured model."""
    block = paper.block
    heads = ["variant", "paper", *paper.heads, *measured.heads]
    lines = [line(heads), line(["---", "---", *["---:"] * (len(heads) - 2)])]
    rows: list[tuple[str | None, PublishedRow | None]] = []
    for row in block.rows:
        own = [v for v in measured.rows if v.partition("(")[0] == row.variant]
        rows += [(variant, row) for variant in own] if own else [(None, row)]
    told = {variant for variant, _ in rows}
    rest = [(variant, None) for variant in measured.rows if variant not in told]
    # What is compared with stands first, also where the paper has no row of it.
    first = [pair for pair in rest if pair[0] == baseline]
    for variant, printed in (*first, *rows, *(pair for pair in rest if pair not in first)):
        published = paper.cells(printed) if printed else [""] * len(paper.heads)
        name, label = variant or (printed.variant if printed else ""), printed.label if printed else ""
        shown = named(measured.rows[name]) if name in measured.rows else f"`{name}`"
        lines.append(line([shown, label, *published, *measured.cells(variant)]))
    title = f"## Measured on {model}; published: {block.about or block.model} ({block.source})"
    warning = [
        "The published models are others than the measured one, and their tasks too: what compares is the pattern.",
        "",
    ]
    note = [block.note, ""] if block.note else []
    return [title, "", *(warning if other else []), *note, *lines, "", *paper.sentences(), ""]


@dataclass(frozen=True)
class _Paper:
    """The published half of a table."""

    block: Published
    told: dict[tuple[str, str], Claimed]

    @property
    def _extra(self) -> list[str]:
        return [k for k in ("tokens", "level") if any(getattr(r, k) is not None for r in self.block.rows)]

    @property
    def _also(self) -> list[str]:
        return list(dict.fromkeys(k for r in self.block.rows for k in r.also))

    @property
    def heads(self) -> list[str]:
        scores = [f"published {task}<br>n={n}" for task, n in self.block.n.items()]
        return [*scores, *(f"published {k}" for k in (*self._extra, *self._also))]

    def cells(self, row: PublishedRow) -> list[str]:
        scores = [_claimed(self.told.get((row.variant, task))) for task in self.block.n]
        return [*scores, *(_text(getattr(row, k)) for k in self._extra), *(_text(row.also.get(k)) for k in self._also)]

    def sentences(self) -> list[str]:
        """What the published numbers resolve by themselves."""
        tested = {key: c.adjusted_p for key, c in self.told.items() if c.adjusted_p is not None}
        if not tested:
            return []
        names = {r.variant: r.label or r.variant for r in self.block.rows}
        resolved = [f"{names[v]} on {t}" for (v, t), p in tested.items() if p < ALPHA]
        suffix = f" ({', '.join(resolved)})" if resolved else ""
        return [
            f"Published differences to {names[self.block.baseline]}: {len(tested)}, of which resolved at the 5% level "
            f"after Holm: {len(resolved)}{suffix}."
        ]


@dataclass(frozen=True)
class _Measured:
    """The measured half of a table."""

    rows: Mapping[str, Row]
    tasks: tuple[str, ...]
    levels: Mapping[str, Mapping[str, LevelRow]]

    @property
    def _trained(self) -> bool:
        return any(_speed(row) is not None for row in self.rows.values())

    @property
    def heads(self) -> list[str]:
        levels = [f"{kind}, {task}" for task in self.levels for kind in ("levels", "tokens")]
        trained = ["steps/s"] if self._trained else []
        return ["parameters touched", *trained, *(f"measured {task}" for task in self.tasks), *levels]

    def cells(self, variant: str | None) -> list[str]:
        if variant is None:
            return ["not in this table", *[""] * (len(self.heads) - 1)]
        row = self.rows[variant]
        speed = _speed(row)
        out = [row.touched, *([f"{speed:.2f}" if speed is not None else ""] if self._trained else [])]
        out += [_score(row, task) for task in self.tasks]
        for found in (rows.get(variant) for rows in self.levels.values()):
            out += [level_text(found), tokens_text(found)] if found else ["", ""]
        return out


def _speed(row: Row) -> float | None:
    """Steps a second of the training that made a variant."""
    patches = [entry.result.patch for entry in row.entries.values()]
    return patches[0].get("measured", {}).get("steps_per_second") if patches else None


def _score(row: Row, task: str) -> str:
    entry = row.entries.get(task)
    if entry is None:
        return row.absent(task)
    text = f"**{percent(entry.score.value)}** {interval(entry.score)}, n={entry.score.n}"
    if entry.pairing and entry.pairing.comparison:
        d = entry.pairing.comparison.difference
        text += f"<br>Δ {points(d.value)} {interval(d, points)}, adjusted p {_p(entry.adjusted_p)}"
        text += MARKS[entry.verdict]
    return text


def _claimed(claimed: Claimed | None) -> str:
    if claimed is None:
        return ""
    text = f"{_printed(claimed.printed)} {interval(claimed.score)}<br>{claimed.right} of {claimed.score.n}"
    return text if claimed.p is None else f"{text}, p {_p(claimed.p)}, adjusted {p_value(claimed.adjusted_p)}"


def _printed(score: float) -> str:
    """In percent, with the decimals that a paper gives, one at least."""
    text = f"{100 * score:.2f}"
    return text.removesuffix("0")


def _p(p: float | None) -> str:
    shown = p_value(p)
    return shown if shown.startswith("<") else f"= {shown}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:,.0f}" if isinstance(value, float) and value >= 100 else str(value)
