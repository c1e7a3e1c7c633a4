"""This run against a stored one: what regressed, resolved, by more than a margin."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from harness.evaluation.cells import CellName, CellResult
from harness.evaluation.pairing import differing_keys, pair_documents
from harness.evaluation.store import Store
from harness.report.lines import line
from harness.report.markdown import interval, p_value, percent, points
from harness.statistics import ALPHA, Comparison, holm


@dataclass(frozen=True)
class Change:
    """A cell now and then.

    Attributes:
        name: the cell.
        then: its score in the stored run.
        now: its score.
        comparison: now against then, on the same documents; None where there are none.
        p: Holm-adjusted, against a loss of the margin.
        regressed: the loss exceeds the margin, resolved.
        differs: what else than the weights differs (library versions, dtype, backend): the cause may lie there.
        unpaired: documents of either that the other lacks.
        patched: the variant's patch is another one than then.
    """

    name: CellName
    then: float
    now: float
    comparison: Comparison | None
    p: float
    regressed: bool
    differs: tuple[str, ...]
    unpaired: int
    patched: bool


@dataclass(frozen=True)
class Against:
    """A run against a stored one.

    Attributes:
        folder: the stored run.
        margin: loss that is allowed, as a share.
        changes: every cell that both have.
        new: cells that the stored run lacks.
    """

    folder: Path
    margin: float
    changes: tuple[Change, ...]
    new: tuple[CellName, ...]

    @property
    def regressions(self) -> list[Change]:
        """The cells that regressed."""
        return [c for c in self.changes if c.regressed]


def compare_runs(
    folder: Path, baseline: Path, margin: float = 0.0, names: Collection[CellName] | None = None
) -> Against:
    """Compares the cells of a results folder with those of the same names in another.

    Weights, patches, libraries and machines may differ: that is what is asked. Documents must be the same, asked in the
    same words; a metric that is another one is not compared.

    Args:
        folder: of this run.
        baseline: of the stored one.
        margin: loss that is allowed, as a share of 1.
        names: the cells of this run; None for all that lie there.

    Raises:
        ValueError: if the stored run has no cells, or none of this run's.
    """
    if margin < 0:
        raise ValueError(f"margin {margin:g}: the loss that is allowed, at least 0 (0.01 is a point)")
    store, old = Store(folder), Store(baseline)
    theirs = {result.name: result for result in old}
    if not theirs:
        raise ValueError(f"{baseline} holds no stored cells to compare with")
    ours = sorted((r for r in store if names is None or r.name in names), key=lambda r: r.settings.get("position", 0))
    shared = [result for result in ours if result.name in theirs]
    if not shared:
        have = ", ".join(sorted({str(name) for name in theirs})[:5])
        raise ValueError(f"{baseline} holds none of this run's cells; it has {have}, ...")
    plain: list[tuple[CellResult, CellResult, Comparison | None, tuple[str, ...], int]] = []
    for result in shared:
        then = theirs[result.name]
        differs = differing_keys(result, then)
        if "metric" in differs:
            plain.append((result, then, None, differs, 0))
            continue
        pairing = pair_documents(result, store.outcomes(result.name), then, old.outcomes(then.name))
        plain.append((result, then, pairing.comparison, differs, pairing.unpaired))
    adjusted = iter(holm([_p(c, margin) for _, _, c, _, _ in plain if c is not None]))
    changes = []
    for result, then, c, differs, unpaired in plain:
        p = next(adjusted) if c is not None else 1.0
        regressed = c is not None and p < ALPHA and c.difference.high < -margin
        known = not (result.identity.get("imported") or then.identity.get("imported"))
        patched = known and result.identity["patch"] != then.identity["patch"]
        changes.append(Change(result.name, then.score, result.score, c, p, regressed, differs, unpaired, patched))
    new = tuple(r.name for r in ours if r.name not in theirs)
    return Against(baseline, margin, tuple(changes), new)


_HEADS = ("cell", "then", "now", "Δ", "95% interval", "adjusted p", "n")


def _p(c: Comparison, margin: float) -> float:
    """p-value of no loss beyond the margin; 1 where there is none to be seen."""
    return c.p_beyond(-margin) if c.difference.value < -margin else 1.0


def against_text(found: Against) -> str:
    """For a terminal: every cell, what regressed marked."""
    rows = [
        ["▼" if c.regressed else "", str(c.name), percent(c.then), percent(c.now), *_difference(c)]
        for c in found.changes
    ]
    heads = ["", *_HEADS]
    lines = [tabulate(rows, headers=heads, disable_numparse=True), "", _sentence(found), *_notes(found)]
    return "\n".join(lines)


def against_section(found: Against) -> list[str]:
    """Lines of Markdown: what regressed, and how many cells did not."""
    shown = found.regressions or list(found.changes)
    rows = [
        line([f"{'▼ ' if c.regressed else ''}{c.name}", percent(c.then), percent(c.now), *_difference(c)])
        for c in shown
    ]
    table = [line(_HEADS), line(["---", *["---:"] * (len(_HEADS) - 1)]), *rows]
    return [
        f"## Against {found.folder.name}",
        "",
        _sentence(found),
        "",
        *table,
        "",
        *(f"- {n}" for n in _notes(found)),
        "",
    ]


def _difference(c: Change) -> list[str]:
    if c.comparison is None:
        return ["not compared", "", "", ""]
    d = c.comparison.difference
    return [points(d.value), interval(d, points), p_value(c.p), str(d.n)]


def _sentence(found: Against) -> str:
    n = len(found.regressions)
    allowed = f"by more than {100 * found.margin:g} points" if found.margin else "at all"
    word = "1 cell" if n == 1 else f"{n} cells"
    return (
        f"{word} of {len(found.changes)} regressed {allowed}, resolved (Holm over them). A loss that is not resolved "
        "is no proof of none."
    )


def _notes(found: Against) -> list[str]:
    notes = [f"not in {found.folder}: {name}" for name in found.new]
    if keys := sorted({key for c in found.changes for key in c.differs} - {"model"}):
        notes.append(f"the runs differ in {', '.join(keys)} besides the weights")
    if models := sorted({c.name.model for c in found.changes if "model" in c.differs}):
        notes.append(f"other weights of the model than then: {', '.join(models)}")
    if patched := sorted({f"{c.name.model}/{c.name.variant}" for c in found.changes if c.patched}):
        notes.append(f"another patch than then: {', '.join(patched)}")
    if apart := [c for c in found.changes if c.unpaired]:
        most = max(c.unpaired for c in apart)
        cells = "1 cell has" if len(apart) == 1 else f"{len(apart)} cells have"
        notes.append(
            f"{cells} documents in one run only (up to {most}): then and now count them, Δ, its interval and n do not"
        )
    return notes
