"""The verdicts on claims, as a section of the table's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.claims import ClaimVerdict, asked_of, judge_claims
from harness.config.claims import claim_names, compose_claims
from harness.evaluation.store import Store
from harness.report.lines import line

SIGNS = {"supported": "✓ supported", "contradicted": "✗ contradicted", "unresolved": "? unresolved"}
_LEGEND = (
    "What papers state, put to these results. Supported or contradicted: interval and test say so together, at the 5% "
    "level divided by the number of claims ({level}). Unresolved: neither, with the number that would resolve "
    "differences as large as those seen. All parts of a claim must hold. Δ in points (or the unit named), with its 95% "
    "interval."
)


def verdicts_of(
    folder: Path, models: Sequence[str], asked: Any = None, store: Store | None = None
) -> tuple[list[ClaimVerdict], list[str]]:
    """The verdicts of a folder.

    Args:
        folder: results folder.
        models: models of its table.
        asked: claims by name, or ``all``; None for those that its runs asked for.
        store: the folder's store; None opens one.

    Returns:
        The verdicts, and what went wrong.

    Raises:
        ValueError: for an unknown claim among ``asked``.
    """
    if asked is not None:
        return judge_claims(folder, compose_claims(claim_names(asked), models), store), []
    try:
        kept = asked_of(folder)
        return judge_claims(folder, compose_claims(kept.claims, list(models) or kept.models), store), []
    except ValueError as error:
        return [], [f"claims: {error}"]


def claims_section(verdicts: Sequence[ClaimVerdict], title: str = "## Claims") -> list[str]:
    """Lines of the section, or none without claims."""
    if not verdicts:
        return []
    models = {v.claim.model for v in verdicts}
    counts = Counter(v.verdict for v in verdicts)
    told = ", ".join(f"{n} {word}" for word, n in counts.items())
    heads = ["claim", *(["model"] if len(models) > 1 else []), "verdict", "what it says", "what was measured"]
    lines = [line(heads), line(["---"] * len(heads))]
    for v in verdicts:
        config = v.claim.config
        where = f"{config.paper}{f', {config.where}' if config.where else ''}"
        said = f"{config.statement.strip()}<br>{rule_text(v)}<br>{where}" + (
            f"<br>{config.note}" if config.note else ""
        )
        own = [f"`{v.claim.name}`", *([v.claim.model] if len(models) > 1 else [])]
        lines.append(line([*own, sign(v), said, measured_text(v)]))
    legend = _LEGEND.format(level=level_text(verdicts))
    return [title, "", f"{legend} Here: {told}.", "", *lines, ""]


def level_text(verdicts: Sequence[ClaimVerdict]) -> str:
    """The level that claims are judged at, which no 95% interval shows."""
    return " and ".join(dict.fromkeys(f"{100 * v.level:.2g}%" for v in verdicts))


def sign(verdict: ClaimVerdict) -> str:
    """The verdict with its sign."""
    return SIGNS.get(verdict.verdict, verdict.verdict)


def rule_text(verdict: ClaimVerdict) -> str:
    """What is asked, as a formula in words."""
    c = verdict.claim.config
    amount = f"{100 * c.margin:g} points" if c.measure not in ("tokens", "level") else f"{c.margin:g}"
    if c.direction == "alike":
        word, more = f"within {amount} of", ""
    else:
        word = c.direction.replace("_", " ")
        more = "" if not c.margin else f" by {amount}" if "not" in c.direction else f" by more than {amount}"
    on = f" on {', '.join(c.tasks)}" if c.tasks else ""
    return f"*{c.measure}* of {', '.join(c.variants)} {word} {', '.join(c.against)}{more}{on}"


def measured_text(verdict: ClaimVerdict) -> str:
    """The differences, one a line."""
    text = verdict.text.partition(": ")[2] if verdict.parts else verdict.why
    more = f"<br>{verdict.more}" if verdict.more else ""
    return text.replace("; ", "<br>") + more


def claim_records(verdicts: Sequence[ClaimVerdict]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [
        {
            "claim": v.claim.name,
            "model": v.claim.model,
            "statement": v.claim.config.statement,
            "paper": v.claim.config.paper,
            "verdict": v.verdict,
            "level": v.level,
            "needed": v.needed,
            "why": v.why,
            "parts": [
                {
                    "about": e.about,
                    "difference": e.comparison.difference.value,
                    "low": e.comparison.difference.low,
                    "high": e.comparison.difference.high,
                    "n": e.comparison.difference.n,
                    "of": e.of,
                    "unit": e.unit,
                    "test": e.comparison.test,
                    "p": j.p,
                    "p_against": j.p_against,
                    "verdict": j.verdict,
                    "needed": j.needed,
                    "exact": e.exact,
                }
                for e, j in v.parts
            ],
        }
        for v in verdicts
    ]
