"""Log-likelihoods against lm-eval's own backend and against the model run plainly."""

import logging

import pytest
import torch
from conftest import ARCHITECTURES
from engine_support import HEADER, PROMPTS, both, scoring, speaking, tokenizer, word_beside
from test_walk import WINDOWED

from harness.engine import EngineSettings, Plans, TreeLM

REQUESTS = scoring(
    *((p, c) for p in PROMPTS for c in (" 62", " yes", " no", " forty two nuts")),
    ("", "Anna gave Paul a book"),
    ("", "\n"),
    ("spaces move   ", "to the continuation"),
    (HEADER, "Question"),
)
MODELS = [(a, {}) for a in ARCHITECTURES] + list(WINDOWED.items())


@pytest.mark.parametrize(("architecture", "changes"), MODELS, ids=[f"{a}-{len(c)}" for a, c in MODELS])
def test_equals_lm_eval(architecture, changes):
    peer, ours = both(speaking(architecture, **changes))
    for (theirs, greedy), (value, flag) in zip(peer.loglikelihood(REQUESTS), ours.loglikelihood(REQUESTS), strict=True):
        assert value == pytest.approx(theirs, abs=1e-4)
        assert flag == greedy
    assert (
        vars(ours.accounting).items()
        >= {k: v for k, v in vars(peer.accounting).items() if k != "computed_tokens"}.items()
    )


def test_one_text_split_at_two_places_is_scored_at_each():
    """lm-eval's cache of logits reads the second one at the first one's place; without it both agree."""
    peer, ours = both(speaking("llama"))
    wanted = scoring(("Anna gave Paul a book", " and left"), ("Anna gave Paul a book and", " left"))
    peer.logits_cache = False
    expected = [value for value, _ in peer.loglikelihood(wanted)]
    assert [value for value, _ in ours.loglikelihood(wanted)] == pytest.approx(expected, abs=1e-4)


def test_greedy_flag_is_set_where_greedy_decoding_gives_the_continuation():
    model = speaking("llama")
    peer, ours = both(model)
    best = [model(torch.tensor([tokenizer().encode(p)])).logits[0, -1].argmax().item() for p in PROMPTS]
    wanted = scoring(*((p, tokenizer().decode([t])) for p, t in zip(PROMPTS, best, strict=True)))
    flags = [flag for _, flag in ours.loglikelihood(wanted)]
    assert flags == [flag for _, flag in peer.loglikelihood(wanted)]
    assert any(flags)


def test_prompts_that_do_not_fit_are_cut_and_counted_as_lm_eval_does():
    peer, ours = both(speaking("gpt2"))
    long = scoring(*((HEADER * 3 + p, c) for p in PROMPTS for c in (" 62", " forty two nuts")))
    for (theirs, _), (value, _) in zip(peer.loglikelihood(long), ours.loglikelihood(long), strict=True):
        assert value == pytest.approx(theirs, abs=1e-4)
    assert ours.accounting.clipped_prompts == peer.accounting.clipped_prompts == len(long)


def test_rolling_equals_lm_eval():
    peer, ours = both(speaking("llama"))
    wanted = scoring(*((p * 3,) for p in PROMPTS))
    assert ours.loglikelihood_rolling(wanted) == pytest.approx(peer.loglikelihood_rolling(wanted), abs=1e-3)
    assert ours.loglikelihood_rolling([]) == []


def test_each_distinct_token_is_computed_once_and_the_last_one_never():
    _, ours = both(speaking("llama"))
    ours.loglikelihood(scoring(*((PROMPTS[0], c) for c in (" 6", " 7", " 8"))))
    encode = tokenizer().encode
    distinct = {tuple(encode(f"{PROMPTS[0]} {n}")[:-1][:i]) for n in (6, 7, 8) for i in range(1, 200)}
    assert ours.accounting.computed_tokens == len(distinct)


def test_a_continuation_without_tokens_is_an_error_that_shows_it():
    _, ours = both(speaking("llama"))
    with pytest.raises(ValueError, match=r"continuation of 0 tokens .*cannot be scored: 1 to 64"):
        ours.loglikelihood(scoring(("some context", "")))
    with pytest.raises(ValueError, match="cannot be scored: 1 to 64"):
        ours.loglikelihood(scoring(("A", " 1" * 70)))


def test_a_nan_is_counted():
    model = speaking("llama")
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    _, ours = both(model)
    ours.loglikelihood(REQUESTS)
    assert ours.accounting.not_finite == len(REQUESTS)


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_one_broken_document_breaks_no_other(architecture):
    """The embedding of one token is NaN: requests that hold it are NaN, the others what they were."""
    model = speaking(architecture, tie_word_embeddings=False)
    clean = both(model)[1].loglikelihood(REQUESTS)
    word, token = word_beside([text for request in REQUESTS for text in request.args])
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    holding = scoring(*((p + word * (i + 1), " no") for i, p in enumerate(PROMPTS)))
    mixed = both(model)[1].loglikelihood([*holding, *REQUESTS])
    assert all(value != value for value, _ in mixed[: len(holding)])
    assert [v for v, _ in mixed[len(holding) :]] == pytest.approx([v for v, _ in clean], abs=1e-5)


def test_plans_are_made_once_and_hold_for_other_weights():
    plans, first, second = Plans(), speaking("llama"), speaking("llama", seed=5)
    TreeLM(first, tokenizer(), plans=plans).loglikelihood(REQUESTS)
    again = TreeLM(second, tokenizer(), plans=plans).loglikelihood(REQUESTS)
    assert plans.made == 1
    assert again == TreeLM(second, tokenizer()).loglikelihood(REQUESTS)
    TreeLM(first, tokenizer(), plans=plans).loglikelihood(REQUESTS[:-1])
    assert plans.made == 2, "other requests have a plan of their own"


def test_order_and_batch_do_not_matter():
    model = speaking("qwen3")
    whole = TreeLM(model, tokenizer()).loglikelihood(REQUESTS)
    small = TreeLM(model, tokenizer(), EngineSettings(batch_tokens=3)).loglikelihood(REQUESTS[::-1])[::-1]
    assert [v for v, _ in small] == pytest.approx([v for v, _ in whole], abs=1e-5)


def test_bf16_scores_are_as_near_to_lm_evals_as_these_are_to_themselves():
    model = speaking("llama").to(torch.bfloat16)
    peer, ours = both(model, batch_size=1)
    wide, _ = both(model, batch_size=8)
    exact = both(speaking("llama").to(torch.bfloat16).to(torch.float32))[1].loglikelihood(REQUESTS)

    def error(lm):
        return max(abs(a - b) for (a, _), (b, _) in zip(lm.loglikelihood(REQUESTS), exact, strict=True))

    assert error(ours) <= 1.5 * max(error(peer), error(wide))


def test_progress_names_documents_speed_and_time_left(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "0")
    _, ours = both(speaking("llama"))
    ours.loglikelihood(REQUESTS)
    shown = capsys.readouterr().err
    assert f"{len(REQUESTS)}/{len(REQUESTS)} documents" in shown
    assert "tokens/s" in shown and "left" in shown
    ours.loglikelihood(REQUESTS, disable_tqdm=True)
    assert "documents" not in capsys.readouterr().err


def test_a_cache_too_small_for_the_longest_request_is_an_error_with_the_remedy():
    _, ours = both(speaking("llama", num_hidden_layers=80), cache_mb=1)
    with pytest.raises(ValueError, match=r"runtime.cache_mb=1 cannot hold two paths of \d+ tokens.*raise it"):
        ours.loglikelihood(REQUESTS)


def test_nothing_is_logged_where_all_is_well(caplog):
    caplog.set_level(logging.WARNING, "harness")
    both(speaking("llama"))[1].loglikelihood(REQUESTS)
    assert not [r for r in caplog.records if r.name.startswith("harness")]
