"""statsmodels as oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.statistics import adjust, holm


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_both_against_statsmodels(ps):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    for by, name in (("holm", "holm"), ("bh", "fdr_bh")):
        assert adjust(ps, by) == pytest.approx(list(multitest.multipletests(ps, method=name)[1]), abs=1e-12)


@given(st.lists(st.floats(0, 1), max_size=20))
def test_bh_never_asks_for_more_than_holm(ps):
    assert all(one <= other + 1e-12 for one, other in zip(adjust(ps, "bh"), holm(ps), strict=True))


def test_unknown_correction():
    with pytest.raises(ValueError, match="'bonferroni'; known: holm, bh"):
        adjust([0.1], "bonferroni")
