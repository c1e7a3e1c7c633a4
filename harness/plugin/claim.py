"""What a suite function gets of a claim: a statement of a paper, ready to be put to the stored results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from harness.plugin.session import LINE, PLAN, VERDICT

if TYPE_CHECKING:
    from harness.after import Extra
    from harness.config.claims import Claim
    from harness.evaluation.bench import Bench


class ClaimCase:
    """A statement of a paper, ready to be put to the stored results."""

    def __init__(self, claim: Claim, bench: Bench, extras: Sequence[Extra], request: pytest.FixtureRequest) -> None:
        self.claim, self._bench, self._extras, self._node = claim, bench, extras, request.node

    def run(self) -> None:
        """Passes if the claim is supported, fails if it is contradicted.

        It is skipped, with the reason, if it is unresolved, or if the run leaves out what it needs and no earlier one
        stored it. It fails if what it needs was measured and cannot be compared. What it needs and this run has, but
        nobody ran yet, is run first; the rest is read from the store.
        """
        if self._bench.grid.run.dry_run:
            self._record(PLAN, f"claim {self.claim.name}: {self.claim.config.statement}")
            return
        from harness.claimed import claim_verdict
        from harness.claims import NOT_MEASURED

        problem = None
        try:
            found = claim_verdict(self._bench, self.claim, self._extras)
        except (ValueError, OSError) as error:
            problem = str(error)
        if problem is not None:
            # Outside the except block, which would print the chain of what led to it.
            pytest.fail(problem, pytrace=False)
        self._record(VERDICT, found.verdict)
        self._record(LINE, found.text)
        if found.verdict in ("unresolved", NOT_MEASURED):
            pytest.skip(found.text)
        if found.verdict != "supported":
            pytest.fail(f"{found.text}\n{self.claim.config.statement} ({self.claim.config.paper})", pytrace=False)

    def _record(self, key: str, value: str) -> None:
        self._node.user_properties.append((key, value))
