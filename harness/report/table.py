"""The comparison table, computed once; the writers only print it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.replicas import MARK, of_all_seeds
from harness.evaluation.cells import CellName, Outcome
from harness.evaluation.pairing import estimate
from harness.evaluation.seeds import Stored, estimate_seeds, pair_seeds
from harness.evaluation.store import Failure, Store
from harness.report.pages import has_pages
from harness.report.rows import Entry, Method, Row, Table, leaky
from harness.statistics import resolve


def build_table(
    folder: Path,
    baseline: str = "base",
    tasks: Sequence[str] | None = None,
    variants: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    sort: str | None = None,
    strict: bool = True,
    method: Method | None = None,
    store: Store | None = None,
) -> Table:
    """Reads the stored cells of a folder and compares them.

    Args:
        folder: results folder.
        baseline: variant that others are compared with, within their model.
        tasks: tasks to show, in this order; None for all, in the order of the run.
        variants: variants to show, in this order; None for all, the baseline first, then in the order of the run.
        models: models to show, in this order; None for all, in the order of the run.
        sort: a task by whose score the variants are ordered.
        strict: a baseline without a cell is an error; else the table has no comparisons then, and none at all where
            there are other pages to show.
        method: how to compare; None for the defaults.
        store: the folder's store, for who goes on reading it; None opens one.

    Raises:
        ValueError: if there are no cells, or a chosen task or baseline has none.
    """
    method = method or Method()
    store = store or Store(folder)
    readable, damaged = store.readable()
    everything = sorted(readable, key=lambda r: (r.settings.get("position", 0), r.finished))
    try:
        failures = store.failures()
    except ValueError as error:
        failures, damaged = [], [*damaged, str(error)]
    if not everything and not strict and has_pages(folder):
        return Table(folder, baseline, (), (), 0, method, tuple(damaged))
    if not everything:
        problems = [*damaged, *(f"{f.name} failed: {f.text}" for f in failures)]
        raise ValueError(f"{folder} holds no stored cells" + "".join(f"; {p}" for p in problems))
    for kind, chosen in (("task", tasks), ("variant", variants), ("model", models)):
        there = sorted({name for r in everything for name in _names(getattr(r.name, kind))})
        if wrong := [name for name in chosen or () if name not in there]:
            raise ValueError(f"{folder} holds no cell of {kind} {', '.join(wrong)}; it has {', '.join(there)}")
    # The baseline is read in any case, to compare with; its row is shown if it was chosen.
    shown_variants = None if variants is None else {*variants, baseline}
    results = [
        r
        for r in everything
        if _in(r.name.task, tasks) and _among(r.name.variant, shown_variants) and _in(r.name.model, models)
    ]
    failed = [
        f
        for f in failures
        if _in(f.name.task, tasks) and _among(f.name.variant, variants) and _in(f.name.model, models)
    ]
    shown = tuple(tasks or dict.fromkeys([*(r.name.task for r in results), *(f.name.task for f in failed)]))
    baseline = of_all_seeds(baseline)
    if strict and baseline not in {of_all_seeds(r.name.variant) for r in results}:
        have = sorted({r.name.variant for r in results})
        raise ValueError(f"{folder} holds no cell of baseline {baseline!r}; variants there: {', '.join(have)}")
    # A failure is noted after the cell that lies there, and forgotten by the next one: the score is an older run's.
    stale = {f.name for f in failures}
    results = [r for r in results if r.name not in stale]
    outcomes = {r.name: store.outcomes(r.name) for r in results}
    plain = {r.name.variant for r in results}
    together: dict[CellName, dict[str, Stored]] = {}
    for r in results:
        row = _row_name(r.name.variant, plain)
        together.setdefault(replace(r.name, variant=row), {})[r.name.variant.rpartition(MARK)[2]] = (
            r,
            outcomes[r.name],
        )
    entries: dict[tuple[str, str], dict[str, Entry]] = {}
    for name, cells in together.items():
        other = together.get(replace(name, variant=baseline))
        entry = _entry(cells, None if name.variant == baseline else other, method)
        if name.variant == baseline:
            entry = replace(entry, verdict="baseline")
        entries.setdefault((name.model, name.variant), {})[name.task] = entry
    entries, count = _adjust(entries, method.adjust)
    missing: dict[tuple[str, str], dict[str, Failure]] = {}
    for failure in failed:
        missing.setdefault((failure.name.model, of_all_seeds(failure.name.variant)), {})[failure.name.task] = failure
    rows = [
        Row(*key, entries.get(key, {}), missing.get(key, {}))
        for key in dict.fromkeys([*entries, *missing])
        if variants is None or key[1] in {of_all_seeds(v) for v in variants}
    ]
    ordered = tuple(_order(rows, baseline, variants, models, shown, sort))
    return Table(folder, baseline, shown, ordered, count, method, tuple(damaged))


def _row_name(variant: str, plain: Collection[str]) -> str:
    """The row of a cell: seeds share one, which a run of the variant's own seed does not join."""
    shared = of_all_seeds(variant)
    return f"{shared}{MARK}" if shared != variant and shared in plain else shared


def _entry(cells: Mapping[str, Stored], other: Mapping[str, Stored] | None, method: Method) -> Entry:
    """One variant on one task, over its seeds if there are several, against the baseline's cells; None for its own."""
    first, outcomes = next(iter(cells.values()))
    pairing = None if other is None else pair_seeds(cells, other, method.test, method.interval)
    trained = tuple(r.patch.get("measured", {}) for r, _ in cells.values())
    stored = tuple(r for r, _ in cells.values())
    if len(cells) == 1:
        return Entry(first, estimate(first, outcomes), pairing, None, "none", _routes(outcomes), {}, trained, (first,))
    seeds = {seed: estimate(r, own).value for seed, (r, own) in cells.items()}
    whole = replace(
        first,
        counts={key: sum(r.counts.get(key, 0) for r, _ in cells.values()) for key in first.counts},
        seconds=sum(r.seconds for r, _ in cells.values()),
    )
    return Entry(whole, estimate_seeds(list(cells.values())), pairing, None, "none", {}, seeds, trained, stored)


def _names(name: str) -> set[str]:
    """A variant's name, and the one that it shares with the other seeds'."""
    return {name, of_all_seeds(name)}


def _among(variant: str, chosen: Collection[str] | None) -> bool:
    return chosen is None or bool(_names(variant) & set(chosen))


def _routes(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Documents by route; an outcome stands there once for each filter."""
    return dict(Counter({o.document: o.route for o in outcomes if o.route is not None}.values()))


def _in(name: str, chosen: Collection[str] | None) -> bool:
    return chosen is None or name in chosen


def _adjust(
    entries: dict[tuple[str, str], dict[str, Entry]], by: str
) -> tuple[dict[tuple[str, str], dict[str, Entry]], int]:
    """The correction over every comparison of the table, and the verdicts that follow."""
    places = [
        (key, task, e.pairing.comparison)
        for key, cells in entries.items()
        for task, e in cells.items()
        if e.pairing is not None and e.pairing.comparison is not None and not leaky(e)
    ]
    out = {key: dict(cells) for key, cells in entries.items()}
    for (key, task, _), (p, found) in zip(places, resolve([c for _, _, c in places], by), strict=True):
        out[key][task] = replace(out[key][task], adjusted_p=p, verdict=found)
    return out, len(places)


def _order(
    rows: list[Row],
    baseline: str,
    variants: Sequence[str] | None,
    models: Sequence[str] | None,
    tasks: tuple[str, ...],
    sort: str | None,
) -> list[Row]:
    """By model; the baseline first, then as chosen, by score, or in the order of the run."""
    if sort is not None and sort not in tasks:
        raise ValueError(f"cannot sort by {sort!r}; tasks: {', '.join(tasks)}")
    names = [of_all_seeds(v) for v in variants or ()]
    model_order = list(models or dict.fromkeys(r.model for r in rows))

    def key(row: Row) -> tuple[int, bool, float, int]:
        entry = row.entries.get(sort) if sort else None
        rank = names.index(row.variant) if variants else 0
        score = -entry.score.value if entry else 0.0
        return model_order.index(row.model), row.variant != baseline, score, rank

    return sorted(rows, key=key)
