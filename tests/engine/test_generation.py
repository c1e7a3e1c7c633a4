"""Texts against lm-eval's own backend, and against themselves in other batches."""

import dataclasses
import logging

import pytest
import torch
from conftest import ARCHITECTURES
from engine_support import HEADER, PROMPTS, both, speaking, texts, tokenizer, word_beside
from test_walk import WINDOWED

from harness.engine import EngineSettings, ResidentLM, TreeLM, generation, lanes, supply
from harness.engine.walk import Core

MODELS = [(a, {}) for a in ARCHITECTURES] + list(WINDOWED.items())
SAMPLED = {"do_sample": True, "temperature": 1.5, "top_p": 0.9}


@pytest.fixture(params=[4, 1000], ids=["shared", "copied"])
def shared(request, monkeypatch):
    """Shared stretches as segments of their own, or copied into each lane."""
    monkeypatch.setattr(supply, "SHARED", request.param)


@pytest.mark.parametrize(("architecture", "changes"), MODELS, ids=[f"{a}-{len(c)}" for a, c in MODELS])
def test_greedy_equals_lm_eval(architecture, changes, shared):
    peer, ours = both(speaking(architecture, **changes))
    wanted = texts(PROMPTS, until=["\n\n", "th"])
    assert ours.generate_until(wanted) == peer.generate_until(wanted)
    ignored = {"computed_tokens"}
    mine, theirs = ({k: v for k, v in vars(lm.accounting).items() if k not in ignored} for lm in (ours, peer))
    assert mine == theirs


@pytest.mark.parametrize("refill", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_places_and_refill_change_no_text(refill, batch_size, shared):
    model = speaking("llama")
    wanted = [
        *texts(PROMPTS, max_gen_toks=5),
        *texts(PROMPTS[::-1], max_gen_toks=17, until=["e"]),
        *texts(PROMPTS[:2], max_gen_toks=1),
    ]
    expected = ResidentLM(model, tokenizer(), 1).generate_until(wanted)
    _, ours = both(model, batch_size=batch_size, refill=refill)
    assert ours.generate_until(wanted) == expected


def test_lanes_that_end_leave_no_gap_and_no_trace():
    """Texts of many lengths, so that lanes move and are taken again."""
    model = speaking("gpt2")
    wanted = [t for n in (1, 9, 3, 14, 2, 7) for t in texts([PROMPTS[n % 6], PROMPTS[(n + 1) % 6]], max_gen_toks=n)]
    expected = ResidentLM(model, tokenizer(), 1).generate_until(wanted)
    assert both(model, batch_size=3, refill=0.3)[1].generate_until(wanted) == expected


def test_refill_at_once_takes_fewer_steps_than_waiting_for_all(monkeypatch):
    model, steps = speaking("llama"), []
    plain = generation.Lanes.advance
    monkeypatch.setattr(generation.Lanes, "advance", lambda self: (steps.append(len(self)), plain(self))[1])
    wanted = [t for n in (1, 9, 3, 14, 2, 7, 12, 4) for t in texts(PROMPTS[:1], max_gen_toks=n)]
    taken = {}
    for refill in (0.0, 1.0):
        steps.clear()
        both(model, batch_size=3, refill=refill)[1].generate_until(wanted)
        taken[refill] = len(steps)
    total = sum(n - 1 for n in (1, 9, 3, 14, 2, 7, 12, 4))
    assert (
        total / 3 <= taken[0.0] < taken[1.0] == sum(max(group) - 1 for group in _waves((1, 9, 3, 14, 2, 7, 12, 4), 3))
    )


def _waves(lengths, places):
    """Waiting for all: each wave lasts as long as its longest text."""
    return [lengths[i : i + places] for i in range(0, len(lengths), places)]


def test_shared_prompts_are_computed_once():
    _, ours = both(speaking("llama"), batch_size=8)
    ours.generate_until(texts(PROMPTS[:1], repeats=8, max_gen_toks=1, **SAMPLED))
    assert ours.accounting.computed_tokens == len(tokenizer().encode(PROMPTS[0]))
    ours.accounting.computed_tokens = 0
    ours.generate_until(texts(PROMPTS, max_gen_toks=3))
    prompts = [tuple(tokenizer().encode(p)) for p in PROMPTS]
    distinct = len({p[:i] for p in prompts for i in range(1, len(p) + 1)})
    assert ours.accounting.computed_tokens == distinct + 2 * len(PROMPTS)


def test_samples_depend_on_document_and_seed_alone(shared):
    model = speaking("qwen2")
    wanted = texts(PROMPTS, repeats=4, **SAMPLED)
    expected = both(model, batch_size=1)[1].generate_until(wanted)
    assert both(model, batch_size=7, refill=0.0)[1].generate_until(wanted) == expected
    assert both(model, batch_size=7, batch_tokens=3)[1].generate_until(wanted) == expected
    turned = both(model, batch_size=5)[1].generate_until(wanted[4:] + wanted[:4])
    assert turned == expected[4:] + expected[:4]
    assert both(model, seed=2)[1].generate_until(wanted) != expected
    assert len(set(expected[:4])) > 1, "samples of one document differ"


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.7}, {"temperature": 2.0, "top_k": 5}, {"top_p": 0.6}, {"min_p": 0.2}]
)
def test_sampled_tokens_follow_transformers_distribution(settings):
    """First tokens of 3,000 samples against the probabilities that transformers' own warpers give."""
    from scipy.stats import chisquare
    from transformers import GenerationConfig

    asked = {"do_sample": True, "temperature": 1.0, **settings}
    model, n = speaking("llama"), 3000
    prompt = tokenizer().encode(PROMPTS[4], return_tensors="pt")
    config, _ = model._prepare_generation_config(GenerationConfig(), **asked)
    processors = model._get_logits_processor(config, prompt.shape[1], prompt, None, None, "cpu", {})
    with torch.no_grad():
        probabilities = processors(prompt, model(prompt).logits[:, -1])[0].softmax(-1)
    _, ours = both(model, batch_size=200)
    drawn = ours.generate([request_of(PROMPTS[4], i) for i in range(n)], sampling_of(model, asked), quiet=True)
    counts = torch.bincount(torch.tensor([t[0] for t in drawn]), minlength=len(probabilities))
    assert not counts[probabilities == 0].any(), "a token that was cut off came up"
    expected = probabilities * n
    common = expected >= 5
    observed = [*counts[common].tolist(), int(counts[~common].sum())]
    wanted = [*expected[common].double().tolist(), float(expected[~common].double().sum())]
    kept = [(o, w) for o, w in zip(observed, wanted, strict=True) if w > 0]
    total = sum(w for _, w in kept)
    assert chisquare([o for o, _ in kept], [w * n / total for _, w in kept]).pvalue > 1e-3


def request_of(prompt, sample):
    tokens = torch.tensor(tokenizer().encode(prompt)).numpy()
    return generation.TextRequest(tokens, 1, False, (), "document", sample)


def sampling_of(model, settings):
    from harness.engine.sampling import Sampling

    sampling, unknown = Sampling.of(model, settings)
    assert not unknown
    return sampling


def test_repetition_penalty_of_the_models_own_settings_is_kept():
    model = speaking("llama")
    plain = both(model)[1].generate_until(texts(PROMPTS))
    model.generation_config.repetition_penalty = 1.9
    peer, ours = both(model, batch_size=1)
    wanted = texts(PROMPTS)
    assert ours.generate_until(wanted) == peer.generate_until(wanted) != plain


def test_settings_that_the_engine_does_not_know_are_left_to_lm_eval(caplog):
    peer, ours = both(speaking("llama"), batch_size=1)
    beams = texts(PROMPTS[:2], num_beams=3)
    with caplog.at_level(logging.WARNING):
        mixed = ours.generate_until([*beams, *texts(PROMPTS)])
    assert "does not know num_beams" in caplog.text
    assert mixed == peer.generate_until(beams) + peer.generate_until(texts(PROMPTS))


def test_prompts_that_do_not_fit_are_cut_and_limits_without_room_lowered():
    peer, ours = both(speaking("gpt2"), batch_size=1)
    wanted = [*texts([HEADER * 3], max_gen_toks=20), *texts([HEADER * 2], max_gen_toks=500)]
    assert ours.generate_until(wanted) == peer.generate_until(wanted)
    assert (ours.accounting.clipped_prompts, ours.accounting.clipped_budgets) == (2, 1)
    assert (peer.accounting.clipped_prompts, peer.accounting.clipped_budgets) == (2, 1)


def test_a_deadline_ends_texts_and_counts_them(monkeypatch):
    _, ours = both(speaking("llama"), deadline=5.0)
    clock = iter(range(10_000))
    monkeypatch.setattr(generation.time, "monotonic", lambda: float(next(clock)))
    whole = both(speaking("llama"))[1].generate_until(texts(PROMPTS))
    cut = ours.generate_until(texts(PROMPTS))
    assert ours.accounting.timed_out == len(PROMPTS)
    assert all(w.startswith(c) and len(c) < len(w) for c, w in zip(cut, whole, strict=True))


def test_out_of_memory_gives_up_lanes_and_loses_no_text(monkeypatch):
    model = speaking("llama")
    wanted = texts(PROMPTS * 2, repeats=2, **SAMPLED)
    expected = both(model)[1].generate_until(wanted)
    plain = Core.hidden

    def scarce(self, tokens, positions, engine):
        if len(tokens) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, tokens, positions, engine)

    monkeypatch.setattr(Core, "hidden", scarce)
    _, ours = both(model, batch_size=16)
    assert ours.generate_until(wanted) == expected
    assert ours.accounting.halved_batches > 0


def test_out_of_memory_while_lanes_are_filled_starts_again_with_half_of_them(monkeypatch):
    model = speaking("llama")
    wanted = texts(PROMPTS * 2, repeats=2, **SAMPLED)
    expected = both(model)[1].generate_until(wanted)
    plain = lanes.Lanes._buffer

    def scarce(self, like):
        if self.places > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, like)

    monkeypatch.setattr(lanes.Lanes, "_buffer", scarce)
    _, ours = both(model, batch_size=16)
    assert ours.generate_until(wanted) == expected
    assert ours.accounting.halved_batches == 2


def test_lack_of_memory_for_a_single_text_is_not_hidden(monkeypatch):
    def scarce(self, tokens, positions, engine):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Core, "hidden", scarce)
    with pytest.raises(torch.OutOfMemoryError):
        both(speaking("llama"))[1].generate_until(texts(PROMPTS))


def test_a_text_that_ended_in_nan_leaves_none_to_its_successor():
    """One lane, three prompts; the one in the middle holds a token whose embedding is NaN."""
    model = speaking("llama", tie_word_embeddings=False)
    word, token = word_beside(PROMPTS)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    wanted = texts([PROMPTS[1], PROMPTS[2] + 3 * word, PROMPTS[4]])
    alone = [both(model, batch_size=1)[1].generate_until([w])[0] for w in wanted]
    for batch_size in (1, 2, 3):
        _, ours = both(model, batch_size=batch_size)
        assert ours.generate_until(wanted) == alone


def test_a_cache_too_small_for_one_text_is_an_error_with_the_remedy():
    model = speaking("llama", num_hidden_layers=80)
    _, ours = both(model, cache_mb=1)
    with pytest.raises(ValueError, match=r"runtime.cache_mb=1 cannot hold a text, .* of \d+ tokens.*raise it"):
        ours.generate_until(texts([HEADER], max_gen_toks=40))


def test_the_cache_budget_limits_lanes(monkeypatch):
    model = speaking("llama", num_hidden_layers=12)
    held, prompts = [], []
    plain, taking = lanes.Lanes.step, supply.Supply.take

    def size(cache):
        return sum(t.numel() * t.element_size() for pair in cache.values() for t in pair)

    def step(self):
        out = plain(self)
        segments = {s for own in self._segments for s in own}
        held.append(size(self._own) + sum(size(s.cache) for s in segments))
        return out

    def take(self, requests):
        out = taking(self, requests)
        prompts.append(sum(size(ready.prompt.cache) for ready in out))
        return out

    monkeypatch.setattr(lanes.Lanes, "step", step)
    monkeypatch.setattr(supply.Supply, "take", take)
    _, ours = both(model, batch_size=50, cache_mb=1)
    ours.generate_until(texts(PROMPTS * 9, max_gen_toks=12))
    assert max(held) + max(prompts) <= 1 << 20
    assert max(held) > 1 << 17, "and it is used"


def test_a_nan_is_counted():
    model = speaking("llama")
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    _, ours = both(model)
    ours.generate_until(texts(PROMPTS, max_gen_toks=4))
    assert ours.accounting.not_finite >= len(PROMPTS)


def test_an_empty_prompt_starts_from_the_prefix_token():
    _, ours = both(speaking("llama"))
    model = speaking("llama")
    start = torch.tensor([[ours.prefix_token_id]])
    first = model(start).logits[0, -1].argmax().item()
    answer = ours.generate_until(texts([""], max_gen_toks=1))
    assert answer == [tokenizer().decode([first])]


def test_requests_are_left_as_they_were():
    _, ours = both(speaking("llama"))
    wanted = texts(PROMPTS, max_gen_toks=500)
    before = [dataclasses.replace(r) for r in wanted]
    ours.generate_until(wanted)
    assert [r.args for r in wanted] == [r.args for r in before]


def test_settings_have_the_defaults_of_the_runtime():
    from harness.config.schema import RuntimeConfig

    runtime, engine = RuntimeConfig(), EngineSettings()
    for name in ("batch_size", "batch_tokens", "cache_mb", "refill", "deadline"):
        assert getattr(runtime, name) == getattr(engine, name)


def test_tree_lm_is_an_lm_eval_model():
    from lm_eval.api.model import TemplateLM

    assert issubclass(TreeLM, TemplateLM)
