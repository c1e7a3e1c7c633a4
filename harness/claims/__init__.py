"""Statements of papers, put to the stored results: supported, contradicted, unresolved."""

from harness.claims.asked import AskedClaims, asked_of, keep_asked
from harness.claims.cells import missing_cells
from harness.claims.verdicts import NOT_DECIDED, NOT_MEASURED, ClaimVerdict, judge_claim, judge_claims

__all__ = [
    "NOT_DECIDED",
    "NOT_MEASURED",
    "AskedClaims",
    "ClaimVerdict",
    "asked_of",
    "judge_claim",
    "judge_claims",
    "keep_asked",
    "missing_cells",
]
