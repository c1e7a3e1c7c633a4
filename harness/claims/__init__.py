"""Statements of papers, put to the stored results: supported, contradicted, unresolved."""

from harness.claims.asked import AskedClaims, asked_of, keep_asked
from harness.claims.verdicts import ClaimVerdict, judge_claim, judge_claims

__all__ = ["AskedClaims", "ClaimVerdict", "asked_of", "judge_claim", "judge_claims", "keep_asked"]
