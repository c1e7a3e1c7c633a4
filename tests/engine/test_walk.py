"""Walking the tree against running each sequence alone, on every architecture."""

import random

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, VOCAB, tiny

from harness.engine import blocks
from harness.engine.accounting import Accounting
from harness.engine.tree import PrefixTree
from harness.engine.walk import Core, Walk

FULL, SLIDING = "full_attention", "sliding_attention"
WINDOWED = {
    "mistral": {"sliding_window": 6},
    "qwen2": {"use_sliding_window": True, "sliding_window": 5, "layer_types": [FULL, SLIDING, SLIDING]},
    "qwen3": {"use_sliding_window": True, "sliding_window": 5, "layer_types": [SLIDING, FULL, SLIDING]},
}
MODELS = [(a, {}) for a in ARCHITECTURES] + list(WINDOWED.items())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of five tokens, so that a few dozen tokens fill many."""
    monkeypatch.setattr(blocks, "BLOCK", 5)


def sequences(seed=0):
    draw = random.Random(seed)
    header = [draw.randrange(VOCAB) for _ in range(11)]
    shared = [header + [draw.randrange(4) for _ in range(draw.randint(1, 9))] for _ in range(14)]
    return shared + [[draw.randrange(3) for _ in range(draw.randint(1, 14))] for _ in range(12)]


def hidden_of(model, tree, size, accounting=None):
    walk, out = Walk(Core(model), tree, size, accounting or Accounting()), []
    with Core(model).running():
        while walk.at < len(tree):
            out.append(walk.advance(len(tree))[0])
    return torch.cat(out)


@pytest.mark.parametrize(("architecture", "changes"), MODELS, ids=[f"{a}-{len(c)}" for a, c in MODELS])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_equals_each_sequence_alone(architecture, changes, size):
    model = tiny(architecture, **changes)
    before = model.config._attn_implementation
    asked = sequences()
    tree = PrefixTree.of(asked)
    accounting = Accounting()
    logits = Core(model).head.logits(hidden_of(model, tree, size, accounting))
    for sequence, last in zip(asked, tree.lasts, strict=True):
        with torch.no_grad():
            alone = model(torch.tensor([sequence])).logits[0]
        assert torch.allclose(logits[tree.path(last)], alone, atol=1e-5), (architecture, sequence)
    assert accounting.computed_tokens == len(tree), "each token of the tree once"
    assert model.config._attn_implementation == before, "the model is left as it was"


def test_window_matters_to_these_models():
    """Without it the windowed cases above would prove nothing."""
    for architecture, changes in WINDOWED.items():
        model, plain = tiny(architecture, **changes), tiny(architecture)
        tokens = torch.arange(20)[None] % VOCAB
        with torch.no_grad():
            assert not torch.allclose(model(tokens).logits[0, -1], plain(tokens).logits[0, -1], atol=1e-4)


def test_cache_never_holds_more_than_one_path():
    asked = sequences()
    tree = PrefixTree.of(asked)
    model = tiny("llama")
    walk = Walk(Core(model), tree, 6, Accounting())
    with Core(model).running():
        while walk.at < len(tree):
            walk.advance(len(tree))
            held = {t.shape[1] for pair in walk._cache.values() for t in pair}
            assert held <= {len(walk._held)}
            assert len(walk._held) <= max(map(len, asked))
            path = tree.path(walk.at)[:-1] if walk.at < len(tree) else []
            assert walk._held.tolist() == list(path), "exactly the ancestors of what comes next"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
def test_out_of_memory_halves_the_batch_and_goes_on(monkeypatch, error):
    model = tiny("llama")
    tree = PrefixTree.of(sequences())
    whole, accounting = hidden_of(model, tree, 1000), Accounting()
    plain = Core.hidden

    def scarce(self, tokens, positions, engine):
        if len(tokens) > 9:
            raise error
        return plain(self, tokens, positions, engine)

    monkeypatch.setattr(Core, "hidden", scarce)
    assert torch.allclose(hidden_of(model, tree, 1000, accounting), whole, atol=1e-5)
    assert accounting.halved_batches >= 3
    assert accounting.computed_tokens == len(tree)


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(self, tokens, positions, engine):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Core, "hidden", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        hidden_of(tiny("llama"), PrefixTree.of(sequences()), 1000)


def test_wanted_keys_and_values_are_those_of_the_path():
    model = tiny("gpt2")
    asked = sequences()
    tree = PrefixTree.of(asked)
    last = int(tree.lasts[3])
    walk, found = Walk(Core(model), tree, 7, Accounting()), None
    with Core(model).running():
        while walk.at <= last:
            found = walk.advance(last + 1, [tree.path(last)])[1][0]
    with torch.no_grad():
        cache = model(torch.tensor([asked[3]]), use_cache=True).past_key_values
    for layer, (key, value) in found.items():
        assert torch.allclose(key, cache.layers[layer].keys[0], atol=1e-5)
        assert torch.allclose(value, cache.layers[layer].values[0], atol=1e-5)
    assert sorted(found) == [0, 1, 2]
    assert np.all(tree.positions[tree.path(last)] == np.arange(len(asked[3])))
