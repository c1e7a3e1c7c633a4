"""The verdict on a claim: of all that it says, together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.claims.beside import beside_evidence
from harness.claims.cells import cell_evidence
from harness.claims.evidence import Evidence, MissingError
from harness.config.claims import Claim
from harness.evaluation.store import Store
from harness.statistics import ALPHA, POWER, Judgement, judge

NOT_MEASURED = "not measured"  # something that it needs was not run
NOT_DECIDED = "not decided"  # what it needs is there, and cannot be compared


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim and what the stored results say of it.

    Attributes:
        claim: the claim.
        verdict: ``supported``, ``contradicted``, ``unresolved``, ``not measured`` or ``not decided``.
        parts: what was compared, and what each says.
        level: below which p must lie.
        needed: how many (documents, layers, ...) would resolve differences as large as those seen; None where that is
            not the question, or no number would.
        why: why there is no verdict.
    """

    claim: Claim
    verdict: str
    parts: tuple[tuple[Evidence, Judgement], ...]
    level: float
    needed: int | None = None
    why: str = ""

    @property
    def text(self) -> str:
        """The verdict in a line, with every number of the decision."""
        if not self.parts:
            return f"{self.verdict}: {self.why}"
        told = "; ".join(_told(evidence, judgement, self.claim.config.margin) for evidence, judgement in self.parts)
        if self.verdict != "unresolved":
            return f"{self.verdict}: {told}"
        return f"unresolved ({self.more}): {told}"

    @property
    def more(self) -> str:
        """How many would resolve it; empty where it is resolved, or not measured."""
        if self.verdict != "unresolved":
            return ""
        of = self.parts[0][0].of
        if self.needed:
            return f"n={self.needed:,} {of} would resolve it"
        return f"no number of {of} resolves a difference of this size"


def judge_claims(folder: Path, claims: Sequence[Claim], store: Store | None = None) -> list[ClaimVerdict]:
    """The verdicts on claims that are judged together: each at the 5% level divided by their number."""
    level = ALPHA / max(1, len(claims))
    return [judge_claim(folder, claim, level, store) for claim in claims]


def judge_claim(folder: Path, claim: Claim, level: float, store: Store | None = None) -> ClaimVerdict:
    """The verdict on one claim.

    All of it must hold, so nothing is adjusted within a claim to support it (an intersection-union test); one part that
    is contradicted contradicts it, at the level divided by the number of parts.

    Args:
        folder: results folder.
        claim: the claim.
        level: below which p must lie.
        store: the folder's store; None opens one.
    """
    try:
        found = cell_evidence(store or Store(folder), claim) if claim.of_cells else beside_evidence(folder, claim)
    except ValueError as error:
        word = NOT_MEASURED if isinstance(error, MissingError) else NOT_DECIDED
        return ClaimVerdict(claim, word, (), level, why=str(error))
    # With this power for each part, all of them together have the usual one.
    power = 1 - (1 - POWER) / len(found)
    parts = [(evidence, _judge(evidence, claim, level, power)) for evidence in found]
    strict = [_judge(evidence, claim, level / len(found)) for evidence in found]
    if "contradicted" in [j.verdict for j in strict]:
        return ClaimVerdict(claim, "contradicted", tuple(parts), level)
    if all(j.verdict == "supported" for _, j in parts):
        return ClaimVerdict(claim, "supported", tuple(parts), level)
    # One part that leans against the claim would do to contradict it; else all that are open must be supported.
    against = [j.needed for (e, _), j in zip(parts, strict, strict=True) if e.shrinks and j.p_against < j.p]
    if against:
        needed = min((n for n in against if n is not None), default=None)
    else:
        counts = [j.needed if e.shrinks else None for e, j in parts if j.verdict != "supported"]
        needed = None if None in counts else max(n for n in counts if n is not None)
    return ClaimVerdict(claim, "unresolved", tuple(parts), level, needed)


def _judge(evidence: Evidence, claim: Claim, level: float, power: float = POWER) -> Judgement:
    config = claim.config
    if not evidence.exact:
        return judge(evidence.comparison, config.direction, config.margin, level, power)
    d, m = evidence.comparison.difference.value, config.margin
    holds = {
        "above": d > m,
        "below": d < -m,
        "not_below": d >= -m,
        "not_above": d <= m,
        "alike": abs(d) <= m,
    }[config.direction]
    return Judgement("supported" if holds else "contradicted", float(not holds), float(holds), None)


def _told(evidence: Evidence, judgement: Judgement, margin: float) -> str:
    c = evidence.comparison
    d = c.difference

    def number(value: float) -> str:
        return f"{100 * value:+.1f}" if evidence.unit == "points" else f"{value:+.3g}"

    if evidence.exact:
        unit = "%" if evidence.unit == "points" else f" {evidence.unit}"
        return f"{evidence.about}: {number(d.value)}{unit} (counted)"
    # p of what the difference is tested against, whichever way it lies.
    p = min(judgement.p, judgement.p_against)
    shown = "<0.001" if p < 0.001 else f"{p:.3f}"
    bound = f" against {number(margin).lstrip('+')}" if margin else ""
    unit = "" if evidence.unit == "points" else f" {evidence.unit}"
    return f"{evidence.about}: Δ {number(d.value)}{unit} [{number(d.low)}, {number(d.high)}], p{bound} {shown}, n={d.n}"
