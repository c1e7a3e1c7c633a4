"""Evidence of cells, document by document: scores, tokens, levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.claims.evidence import Evidence, MissingError
from harness.config.claims import Claim
from harness.config.replicas import MARK, of_all_seeds
from harness.evaluation.cells import CellName, CellResult, Outcome, file_name
from harness.evaluation.judged import JudgedVariant, key_of, known_by, load, path_of
from harness.evaluation.seeds import Stored, pair_seeds
from harness.evaluation.store import Store

LEVEL = "level_"


def missing_cells(store: Store, claim: Claim) -> list[CellName]:
    """Those that a claim reads and the store does not have."""
    wanted = dict.fromkeys((name, task) for variant, against, task in claim.pairs for name in (variant, against))
    return [CellName(claim.model, v, task) for v, task in wanted if not _results(store, claim.model, v, task)]


def cell_evidence(store: Store, claim: Claim) -> list[Evidence]:
    """The differences that decide a claim about cells.

    Raises:
        MissingError: for a cell, or the levels of its answers, that are not there.
        ValueError: for cells that cannot be compared.
    """
    if missing := missing_cells(store, claim):
        raise MissingError(f"no stored cell {', '.join(str(name) for name in missing)}")
    out = []
    for variant, against, task in claim.pairs:
        ours, theirs = (_stored(store, claim, name, task) for name in (variant, against))
        test = claim.config.test
        # Only scores are right or wrong.
        pairing = pair_seeds(ours, theirs, test if claim.config.measure == "score" or test != "mcnemar" else "auto")
        about = f"{variant} vs {against} on {task}"
        if pairing.differing:
            raise ValueError(f"{about}: not comparable, they differ in {', '.join(pairing.differing)}")
        if pairing.comparison is None:
            raise ValueError(f"{about}: no document of one pairs with the other's")
        unit = {"tokens": "tokens", "level": "levels"}.get(claim.config.measure, "points")
        out.append(Evidence(about, pairing.comparison, unit=unit))
    return out


def _stored(store: Store, claim: Claim, variant: str, task: str) -> dict[str, Stored]:
    """The cells of a variant by seed, their outcomes holding what the claim measures."""
    found: dict[str, Stored] = {}
    for result in _results(store, claim.model, variant, task):
        outcomes = store.outcomes(result.name)
        found[result.name.variant.rpartition(MARK)[2]] = (
            result,
            _measured(store, claim.config.measure, result, outcomes),
        )
    return found


def _results(store: Store, model: str, variant: str, task: str) -> list[CellResult]:
    """The variant's own cell, else those of its seeds, else of the one that is this variant with other settings."""
    folder = store.folder / "cells" / file_name(model)
    paths = sorted(p for p in folder.glob("*") if p.name.startswith(file_name(variant)))
    there = [r for path in paths if (r := _in_folder(store, path, task)) is not None]
    exact = [r for r in there if r.name.variant == variant]
    if exact:
        return exact
    seeds = [r for r in there if of_all_seeds(r.name.variant) == variant]
    if seeds:
        return seeds
    alike = [r for r in there if r.name.variant.partition("(")[0] == variant]
    names = sorted({of_all_seeds(r.name.variant) for r in alike})
    if len(names) > 1:
        raise ValueError(f"{variant} on {task} may be {' or '.join(names)}: name one of them in the claim's file")
    return alike


def _in_folder(store: Store, folder: Path, task: str) -> CellResult | None:
    path = folder / f"{file_name(task)}.json"
    return store.read(path) if path.is_file() else None


def _measured(store: Store, measure: str, result: CellResult, outcomes: list[Outcome]) -> list[Outcome]:
    """The outcomes under the cell's own filter, with the measure in the place of its metric."""
    own = [o for o in outcomes if o.filter == result.filter and result.metric in o.metrics]
    if measure == "score":
        return own
    if measure == "tokens":
        if result.identity.get("imported"):
            raise MissingError(f"{result.name} is a run of lm-eval's, which does not count the tokens of answers")
        return _with(own, result, lambda o: float(o.generated_tokens))
    judged = _levels(store, result).documents
    read = [o for o in own if judged.get(key_of(o.subtask, o.doc_id)) is not None]
    if measure.startswith(LEVEL):
        wanted = int(measure.removeprefix(LEVEL))
        return _with(read, result, lambda o: float(judged[key_of(o.subtask, o.doc_id)] == wanted))
    return _with(read, result, lambda o: float(judged[key_of(o.subtask, o.doc_id)]))


def _with(outcomes: list[Outcome], result: CellResult, value: Callable[[Outcome], float]) -> list[Outcome]:
    return [replace(o, metrics={**o.metrics, result.metric: value(o)}) for o in outcomes]


def _levels(store: Store, result: CellResult) -> JudgedVariant:
    name = result.name
    path = path_of(store.folder, name.model, name.task)
    judged = load(path).variants.get(name.variant) if path.is_file() else None
    if judged is None or judged.cell != known_by(result):
        raise MissingError(f"the answers of {name} were not judged by level (levels.tasks=[{name.task}])")
    return judged
