"""What is read from requests and models, against what transformers makes of them."""

import pytest
import torch
from engine_support import speaking
from transformers import GenerationConfig

from harness.engine.sampling import Sampling, stream

OWN = [{}, {"temperature": 0.6, "top_p": 0.95, "do_sample": True}, {"repetition_penalty": 1.1}, {"top_k": 7}]
ASKED = [
    {"do_sample": True, "temperature": 0.8},
    {"do_sample": True, "temperature": 0.8, "top_k": 3, "top_p": 0.5},
    {"do_sample": True, "temperature": 1.0, "min_p": 0.1},
    {"temperature": 0.3},
    {"do_sample": False, "temperature": 0.0},
    {},
]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("asked", ASKED)
def test_reads_what_transformers_reads(own, asked):
    model = speaking("llama")
    for key, value in own.items():
        setattr(model.generation_config, key, value)
    sampling, unknown = Sampling.of(model, {"until": ["x"], "max_gen_toks": 3, **asked})
    assert not unknown
    samples = asked.get("do_sample", asked.get("temperature", 0.0) > 0)
    theirs, _ = model._prepare_generation_config(GenerationConfig(), **{**asked, "do_sample": samples})
    assert sampling.do_sample == bool(samples)
    assert sampling.repetition_penalty == theirs.repetition_penalty
    if samples:
        for key in ("temperature", "top_k", "top_p", "min_p"):
            assert getattr(sampling, key) == getattr(theirs, key), key


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"num_beams": 4}, ["num_beams"]),
        ({"eos_token_id": 7, "max_length": 90}, ["eos_token_id", "max_length"]),
        ({"no_repeat_ngram_size": 2, "typical_p": 0.5}, ["no_repeat_ngram_size", "typical_p"]),
    ],
)
def test_names_what_it_does_not_know(asked, named):
    assert Sampling.of(speaking("llama"), asked) == (None, named)


def test_sampling_without_a_temperature_is_an_error():
    with pytest.raises(ValueError, match="needs a temperature above 0"):
        Sampling.of(speaking("llama"), {"do_sample": True, "temperature": 0.0})


def test_a_uniform_picks_the_token_whose_mass_holds_it():
    logits = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log().repeat(6, 1)
    points = torch.tensor([0.0, 0.0999, 0.1001, 0.2999, 0.6001, 0.9999], dtype=torch.float64)
    assert Sampling(do_sample=True).choose(logits, points, None).tolist() == [0, 0, 1, 1, 3, 3]


def test_a_token_without_mass_is_never_picked():
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]]).repeat(3, 1)
    points = torch.tensor([0.0, 0.5, 1 - 1e-16], dtype=torch.float64)
    assert Sampling(do_sample=True).choose(logits, points, None).tolist() == [1, 3, 3]


def test_streams_are_repeatable_and_apart():
    first = stream(1, "document", 0, 8)
    assert first.equal(stream(1, "document", 0, 8))
    assert stream(1, "document", 0, 20)[:8].equal(first), "a longer limit draws the same numbers first"
    for other in (stream(2, "document", 0, 8), stream(1, "documenu", 0, 8), stream(1, "document", 1, 8)):
        assert not first.equal(other)
