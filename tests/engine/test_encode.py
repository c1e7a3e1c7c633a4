"""Encoding against lm-eval's own, pair by pair, for tokenizers that cut words and tokenizers that do not."""

from unittest import mock

import pytest
from engine_support import speaking, tokenizer
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from harness.engine import ResidentLM, encode
from harness.engine.encode import Encoder

CORPUS = ["the cat's word, the cat said: a 23 é日本 ?! ", "an answer: 1 2 3\n\n\tthe end  ", "'s 's  word"] * 20
PIECES = ["a", "the", " ", "  ", "\n", "'s", "é", "e\u0301", "\u0301", "1", "23", ".", "?!", "\t", "word", " cat"]
PIECES += ["\u00a0", "日本", "<s>"]
TEXT = st.lists(st.sampled_from(PIECES), min_size=1, max_size=10).map("".join)


def trained(pre_tokenizer=None, normalizer=None, decoder=None, bos=False):
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    if pre_tokenizer is not None:
        made.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    if decoder is not None:
        made.decoder = decoder
    alphabet = pre_tokenizers.ByteLevel.alphabet() if decoder else []
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


TOKENIZERS = {
    "lab": tokenizer,
    "byte level": lambda: trained(pre_tokenizers.ByteLevel(add_prefix_space=False), decoder=decoders.ByteLevel()),
    "byte level with bos": lambda: trained(
        pre_tokenizers.ByteLevel(add_prefix_space=False), decoder=decoders.ByteLevel(), bos=True
    ),
    "byte level, composed": lambda: trained(
        pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC(), decoders.ByteLevel()
    ),
    "prefix space": lambda: trained(pre_tokenizers.ByteLevel(add_prefix_space=True), decoder=decoders.ByteLevel()),
    "no words": lambda: trained(normalizer=normalizers.Replace(" ", "▁"), bos=True),
}


@pytest.fixture(scope="module", params=sorted(TOKENIZERS))
def backend(request):
    return ResidentLM(speaking("llama"), TOKENIZERS[request.param](), 1)


@pytest.mark.parametrize("checked", [1, 32], ids=["one checked", "all checked"])
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_pairs_are_lm_evals(backend, checked, pairs):
    """With one of them checked, the others show that the seam itself is right."""
    with mock.patch.object(encode, "_CHECKED", checked):
        check_pairs(backend, pairs)


@pytest.mark.parametrize("short", ["Sarah", "Ian was", "日本", "a"])
def test_contexts_too_short_for_a_seam_keep_what_stands_in_front(backend, short):
    long = "the cat's word, the cat said a word"
    with mock.patch.object(encode, "_CHECKED", 1):
        check_pairs(backend, [(long, " the"), (short, " was"), (short, " the cat")])


def check_pairs(backend, pairs):
    wanted = [(c, t) for c, t in pairs if c.strip()]
    for (context, target), (tokens, n) in zip(wanted, Encoder(backend).pairs(wanted), strict=True):
        before, after = backend._encode_pair(context, target)
        assert tokens.tolist() == before + after
        assert n == len(after)


def test_local_tokenizers_are_recognised():
    local = {
        name: Encoder(ResidentLM(speaking("llama"), make(), 1))._splits_locally() for name, make in TOKENIZERS.items()
    }
    assert local == {
        "lab": True, "byte level": True, "byte level with bos": True, "byte level, composed": True,
        "prefix space": False, "no words": False
    }  # fmt: skip


def test_a_tokenizer_that_only_looks_local_is_found_out(backend, monkeypatch):
    """With the rule switched off, the sample alone must catch a wrong seam."""
    encoder = Encoder(backend)
    monkeypatch.setattr(encoder, "_splits_locally", lambda: True)
    pairs = [("the cat's word, the cat said", t) for t in (" an", "s", "'s", " 2")]
    for (context, target), (tokens, _) in zip(pairs, encoder.pairs(pairs), strict=True):
        assert tokens.tolist() == [*backend._encode_pair(context, target)[0], *backend._encode_pair(context, target)[1]]


@pytest.mark.parametrize("text", ["<s>the cat", "the cat", ""])
def test_single_texts_are_lm_evals(backend, text):
    bos = backend.tokenizer.decode(backend.prefix_token_id)
    assert Encoder(backend).encode([text], bos=bos)[text].tolist() == backend.tok_encode(text)
