"""The lab's own tokenizer: byte-level BPE over the lab's text, one token a digit."""

from __future__ import annotations

from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from harness.lab import corpus

# Single digits, words with their leading space, single signs: arithmetic needs digits apart, IOI each
# name as one token. A line break stands alone, so that a prompt that ends in one (HumanEval's do) is
# cut into the same tokens with and without its completion.
_SPLIT = Regex(r"\d|\n| ?[A-Za-z]+| ?[^\sA-Za-z\d]|[^\S\n]+(?!\S)|[^\S\n]+")


def train_tokenizer(seed: int, vocab_size: int, documents: int = 30_000) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on the first documents of the training stream.

    Args:
        seed: seed of the stream.
        vocab_size: number of tokens, bytes and the end token included.
        documents: how many documents to read.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_SPLIT, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[corpus.END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (t.prompt + t.completion for t in islice(corpus.stream(seed, "base"), documents))
    tokenizer.train_from_iterator(texts, trainer)
    # Bytes leave nothing unknown; without a name for it, loading as a Qwen2 tokenizer would add a token.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=corpus.END,
        pad_token=corpus.END,
        unk_token=corpus.END,
        clean_up_tokenization_spaces=False,
    )
