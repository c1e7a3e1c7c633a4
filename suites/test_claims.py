"""Statements of papers, put to what was measured; run where the config names claims."""


def test_claims(claim):
    claim.run()
