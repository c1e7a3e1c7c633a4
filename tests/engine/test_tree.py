"""The prefix tree against sets of prefixes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engine.tree import PrefixTree

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=15)


@given(SEQUENCES)
def test_holds_every_prefix_once(sequences):
    tree = PrefixTree.of(sequences)
    tree.check()
    assert len(tree) == len({tuple(s[:i]) for s in sequences for i in range(1, len(s) + 1)})
    for sequence, last in zip(sequences, tree.lasts, strict=True):
        assert tree.tokens[tree.path(last)].tolist() == sequence


@given(SEQUENCES)
def test_ends_say_who_is_whose_ancestor(sequences):
    tree = PrefixTree.of(sequences)
    for i in range(len(tree)):
        path = set(tree.path(i).tolist())
        assert path == {j for j in range(i + 1) if i < tree.ends[j]}


@given(SEQUENCES)
def test_runs_know_their_users(sequences):
    tree = PrefixTree.of(sequences)
    for run in tree.runs:
        prefix = tree.tokens[tree.path(run.stop - 1)].tolist()
        assert run.users == sum(s[: len(prefix)] == prefix for s in sequences)


@given(SEQUENCES)
def test_longest_path_comes_first_among_siblings(sequences):
    tree = PrefixTree.of(sequences)
    reach = {}
    for i in range(len(tree)):
        deepest = tree.positions[i : tree.ends[i]].max()
        siblings = reach.setdefault(int(tree.parents[i]), [])
        siblings.append(deepest)
    assert all(values == sorted(values, reverse=True) for values in reach.values())


def test_large_token_ids_keep_their_value():
    tree = PrefixTree.of([[2**31, 5], [2**31, 200_000]])
    assert sorted(tree.tokens.tolist()) == [5, 200_000, 2**31]
    tree.check()


def test_check_finds_a_broken_tree():
    tree = PrefixTree.of([[1, 2, 3], [1, 2, 4]])
    with pytest.raises(AssertionError, match="twice"):
        PrefixTree(**{**vars(tree), "tokens": np.array([1, 2, 3, 3])}).check()
    with pytest.raises(AssertionError, match="one step"):
        PrefixTree(**{**vars(tree), "positions": np.array([0, 1, 2, 3])}).check()
