"""A GPT-2 whose circuit is known, as its weights are written by hand: 4 layers of 8 heads that repeat what followed.

The task is the lab's induction: a list of words starts again, and the next word is asked for. Two heads of layer 0
write which word stands before each position; two heads of layer 2 look for the position whose word before is the one
they stand on, and say the word found there; a head of layer 3 does the same and says the opposite, more quietly. These
five are the circuit. One head of layer 0 and one of layer 1 write loudly where nobody reads, to lead astray what looks
at activations alone; all other heads, and the MLPs, hold small noise.

The residual stream is divided among what stands in it: the word's code, its position's, the code of the word before,
the answer's, two places for noise, and a constant pair that keeps the norm from moving.

    python -m harness.lab.planted DIR     writes model, tokenizer and reference.json
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase

from harness.config.paths import LAB_WEIGHTS
from harness.files import write_text
from harness.lab.words import INDUCTION_WORDS

LAYERS, HEADS, SIZE, POSITIONS = 4, 8, 16, 64
PREVIOUS, INDUCTION, OPPOSITE = ((0, 2), (0, 5)), ((2, 1), (2, 6)), ((3, 3),)
LOUD = ((0, 0), (1, 4))
TRUTH = (*PREVIOUS, *INDUCTION, *OPPOSITE)
_WORD, _PLACE, _BEFORE, _ANSWER, *_NOISE = (slice(i * SIZE, (i + 1) * SIZE) for i in range(6))
_CONSTANT = (6.0, -6.0)
_SHARP = 24.0  # score of a full match, before the softmax
_LOUDNESS = 3.0
_QUIET = 0.005  # standard deviation of what means nothing


def planted(seed: int = 0) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerBase]:
    """The model, in eval mode and fp32, and the lab's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(LAB_WEIGHTS / "lab-base")
    generator = torch.Generator().manual_seed(seed)
    width = HEADS * SIZE
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=POSITIONS, n_embd=width, n_layer=LAYERS, n_head=HEADS, bos_token_id=0,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.eos_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" in name:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif parameter.ndim == 2:
                parameter.normal_(0.0, _QUIET, generator=generator)
            else:
                parameter.zero_()
        codes = _codes(tokenizer, generator)
        words, places, answers = (
            model.get_parameter(name) for name in ("transformer.wte.weight", "transformer.wpe.weight", "lm_head.weight")
        )
        for table in (words, places, answers):
            table.zero_()
        words[:, _WORD] = codes
        places[:, _PLACE] = _places(torch.arange(POSITIONS))
        places[:, -2:] = torch.tensor(_CONSTANT)
        answers[:, _ANSWER] = 8.0 * codes
        for layer, head in PREVIOUS:
            _write(model, layer, head, _shift(), _PLACE, _PLACE, _WORD, _BEFORE, 1 / len(PREVIOUS))
        for layer, head in INDUCTION:
            _write(model, layer, head, torch.eye(SIZE), _WORD, _BEFORE, _WORD, _ANSWER, 1 / len(INDUCTION))
        for layer, head in OPPOSITE:
            _write(model, layer, head, torch.eye(SIZE), _WORD, _BEFORE, _WORD, _ANSWER, -0.3)
        # Each in a place of its own: whatever they say, the norm is the same, and no layer norm tells of it.
        for (layer, head), noise in zip(LOUD, _NOISE, strict=True):
            _write(model, layer, head, torch.eye(SIZE), _PLACE, _PLACE, _WORD, noise, _LOUDNESS)
    return model, tokenizer


def _codes(tokenizer: PreTrainedTokenizerBase, generator: torch.Generator) -> Tensor:
    """A code of length 1 for each token, those of the task's words far apart; half as long for the others."""
    codes = torch.randn(len(tokenizer), SIZE, generator=generator)
    codes = 0.5 * codes / codes.norm(dim=1, keepdim=True)
    spread = torch.randn(len(INDUCTION_WORDS), SIZE, generator=generator)
    for _ in range(500):  # codes that are alike push each other away
        spread = spread / spread.norm(dim=1, keepdim=True)
        alike = (spread @ spread.T).fill_diagonal_(0.0)
        spread = spread - 0.2 * alike.pow(3) @ spread
    spread = spread / spread.norm(dim=1, keepdim=True)
    for word, code in zip(INDUCTION_WORDS, spread, strict=True):
        for text in (f" {word}", word):
            tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
            if len(tokens) == 1:
                codes[tokens[0]] = code
    return codes


def _frequencies() -> Tensor:
    return math.pi * (torch.arange(SIZE // 2) + 0.5) / (SIZE // 2)


def _places(positions: Tensor) -> Tensor:
    """Codes of positions, ``[positions, SIZE]``, of length 1; the product of two tells how far apart they are."""
    angles = positions[:, None] * _frequencies()
    return torch.cat([angles.cos(), angles.sin()], dim=1) / math.sqrt(SIZE // 2)


def _shift() -> Tensor:
    """Turns a position's code into that of the position before it."""
    cos, sin = torch.diag(_frequencies().cos()), torch.diag(_frequencies().sin())
    return torch.cat([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)])


def _write(
    model: GPT2LMHeadModel, layer: int, head: int, turn: Tensor, asks: slice, looks: slice, takes: slice, puts: slice,
    share: float,
) -> None:  # fmt: skip
    """One head: its query asks for what its key looks like, its value takes from there and is put elsewhere.

    The layer norm multiplies the stream by about sqrt(width) / norm, which is taken back from what is written.
    """
    attention: Any = model.transformer.h[layer].attn
    width = HEADS * SIZE
    gain = math.sqrt(width) / math.sqrt(sum(c * c for c in _CONSTANT) + 2.5)
    at = [slice(part * width + head * SIZE, part * width + (head + 1) * SIZE) for part in range(3)]
    for span in at:
        attention.c_attn.weight[:, span] = 0.0
    sharp = math.sqrt(_SHARP * math.sqrt(SIZE)) / gain
    attention.c_attn.weight[asks, at[0]] = sharp * turn
    attention.c_attn.weight[looks, at[1]] = sharp * torch.eye(SIZE)
    attention.c_attn.weight[takes, at[2]] = torch.eye(SIZE) / gain
    rows = slice(head * SIZE, (head + 1) * SIZE)
    attention.c_proj.weight[rows] = 0.0
    attention.c_proj.weight[rows, puts] = share * torch.eye(SIZE)


def save(folder: Path, seed: int = 0) -> None:
    """Writes model, tokenizer and the true circuit (``reference.json``)."""
    model, tokenizer = planted(seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    heads = [f"{layer}.{head}" for layer, head in TRUTH]
    content = {"source": "planted: its weights were written so", "task": "induction", "heads": heads}
    write_text(folder / "reference.json", json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    save(args.folder, args.seed)
