"""Evidence of what stands beside the cells of a run: differences of checkpoints, and circuits."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from scipy import stats

from harness.claims.asked import asked_of
from harness.claims.evidence import Evidence, MissingError
from harness.claims.latents import latent_evidence
from harness.config.claims import BESIDE, Claim, same_model
from harness.evaluation.cells import file_name
from harness.statistics import ALPHA, POWER, Comparison, Estimate, compare

WHOLE = "model"  # what a circuit is compared with, if not with another


def beside_evidence(folder: Path, claim: Claim) -> list[Evidence]:
    """The differences that decide a claim about something beside the cells.

    Raises:
        MissingError: for what was not measured.
        ValueError: for a damaged file, or a name that is none of its.
    """
    kind = BESIDE[claim.config.measure]
    find = {"delta": _delta, "circuits": _circuits, "crosscoder": _crosscoder}[kind]
    try:
        return find(folder, claim)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"what {kind} stored in {folder} is of another form: {error!r}. Run it again.") from error


def read_record(path: Path, kind: str) -> dict[str, Any]:
    """A JSON object that a run wrote.

    Raises:
        MissingError: if it is not there.
        ValueError: if it is none.
    """
    if not path.is_file():
        raise MissingError(f"no {path}: run with {kind}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, found {type(content).__name__}")
        return content
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}. Run it again.") from error


def _delta(folder: Path, claim: Claim) -> list[Evidence]:
    """Parts compared layer by layer; a layer is what a document is elsewhere."""
    rows = read_record(folder / "delta" / file_name(claim.model) / "delta.json", "delta={}")["rows"]
    column = claim.config.measure.removeprefix("delta_")
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["layer"] is not None and not row["is_bias"]:
            values.setdefault(row["part"], {})[row["layer"]] = _of_part(row, column)
    out = []
    for part, other, _ in claim.pairs:
        for name in (part, other):
            if name not in values:
                raise ValueError(f"no part {name!r} was compared; parts: {', '.join(sorted(values))}")
        layers = sorted(layer for layer in values[part] if layer in values[other])
        ours, theirs = ([values[name][layer] for layer in layers] for name in (part, other))
        unit = "points" if column == "bimodal" else ""
        out.append(Evidence(f"{part} vs {other}, {column}", compare(ours, theirs), unit=unit, of="layers"))
    return out


def _of_part(row: dict[str, Any], column: str) -> float:
    if column == "bimodal":
        found = row["modality"]
        return float(found is not None and len(found["peaks"]) > 1)
    value = row["norm"] if column == "l2" else row["relative"]
    return math.inf if value is None else float(value)


def _circuits(folder: Path, claim: Claim) -> list[Evidence]:
    out = []
    for method, other, task in claim.pairs:
        ours = _circuit(folder, claim.model, task, method)
        theirs = None if other == WHOLE else _circuit(folder, claim.model, task, other)
        about = f"{method} vs {'the whole model' if theirs is None else other} on {task}"
        if claim.config.measure == "circuit_flops":
            if theirs is None:
                raise ValueError(f"the cost of {method} can be compared with another method's only, not with {WHOLE}")
            share = _flops(ours) / _flops(theirs) - 1
            point = Estimate(share, share, share, 1, "counted")
            out.append(Evidence(about, Comparison(point, 0.0, 0, 0, 0.0, "counted", share, 0.0), True, of="runs"))
        else:
            out.append(Evidence(about, _kept(ours, theirs), of="prompts"))
    return out


def _circuit(folder: Path, model: str, task: str, method: str) -> dict[str, Any]:
    return read_record(folder / "circuits" / file_name(model) / task / method / "circuit.json", "circuits={}")


def _flops(circuit: dict[str, Any]) -> float:
    return float(sum(sum(layers.values()) for layers in circuit["cost"]["flops"].values()))


def _kept(ours: dict[str, Any], theirs: dict[str, Any] | None) -> Comparison:
    """What two circuits keep of the model, each with its interval over prompts.

    Their prompts are the same, but outcomes by prompt are not stored: the errors are added as if they were not, which
    is cautious where one circuit's prompts are hard for the other too.
    """
    reach = float(stats.norm.ppf(1 - ALPHA / 2))
    values, errors = [], []
    for circuit in (ours, theirs):
        found = {"value": 1.0, "low": 1.0, "high": 1.0} if circuit is None else circuit["verified"]["faithfulness"]
        values.append(float(found["value"]))
        errors.append((float(found["high"]) - float(found["low"])) / 2 / reach)
    d, error, n = values[0] - values[1], math.hypot(*errors), int(ours["verified"]["n"])
    difference = Estimate(d, d - reach * error, d + reach * error, n, "normal")
    p = float(2 * stats.norm.sf(abs(d) / error)) if error else float(d == 0)
    resolvable = (reach + float(stats.norm.ppf(POWER))) * error
    return Comparison(difference, p, 0, 0, resolvable, "z", d, error)


def _crosscoder(folder: Path, claim: Claim) -> list[Evidence]:
    # A study of the model's variants is its own; one of checkpoints is of the folder's only model, or names its model.
    places = [folder / "crosscoder" / name for name in (file_name(claim.model), "checkpoints")]
    place = next((p for p in places if (p / "crosscoder.json").is_file()), places[-1])
    record = read_record(place / "crosscoder.json", "crosscoder={...}")
    own = place == places[0] or len(asked_of(folder).models) < 2
    if not own and not any(same_model(name, claim.model) for name in record["models"]):
        raise MissingError(f"{place} is a study of {', '.join(record['models'])}, not of {claim.model}")
    return latent_evidence(record, claim)
