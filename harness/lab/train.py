"""The recipe of the lab models: ``python -m harness.lab.train --out DIR``.

lab-base is pretrained on the base mixture, with checkpoints along the way; lab-reasoner goes on
from the stored (bf16) lab-base with a few light steps of worked problems. Same seeds and versions,
same weights on the same machine; another machine's kernels round otherwise, so the committed
weights are the reference and their digests are checked by a test.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from harness.lab import corpus
from harness.lab.packing import LETTER_WEIGHT, SOURCES, pack
from harness.lab.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Recipe:
    """Settings of one training run.

    Attributes:
        mixture: which text (`harness.lab.corpus.stream`).
        steps: optimiser steps.
        rows: rows in a batch.
        row_tokens: tokens in a row; documents are packed and never cut.
        learning_rate: peak of the schedule (linear warm-up, then cosine to a tenth).
        warmup: warm-up steps.
        seed: seed of initialisation and text.
        checkpoints: steps after which the weights are kept.
        horizon: steps of the schedule; None for as many as ``steps``.
        start: steps done before this run, which count in the names of checkpoints.
        letter_weight: what the letter of a lettered choice counts.
    """

    mixture: corpus.Mixture
    steps: int
    rows: int = 20
    row_tokens: int = 192
    learning_rate: float = 2e-3
    warmup: int = 200
    seed: int = 0
    checkpoints: tuple[int, ...] = ()
    horizon: int | None = None
    start: int = 0
    letter_weight: float = 1.0


VOCAB_SIZE = 896
# Pretraining in two stages. The second starts from the stored bf16 weights of the first.
BASE = Recipe("base", steps=1500, checkpoints=(150, 400, 800, 1500), horizon=5200)
LATE = Recipe(
    "base-late",
    steps=3500,
    learning_rate=1.5e-3,
    warmup=50,
    seed=2,
    checkpoints=(700, 1500, 2500),
    start=1500,
    letter_weight=LETTER_WEIGHT,
)
REASONER = Recipe("reasoner", steps=250, learning_rate=3e-4, warmup=20, seed=1)


def model_config(vocab_size: int = VOCAB_SIZE) -> Qwen2Config:
    """Qwen2 with grouped-query attention and q/k/v biases, 0.66 M parameters."""
    return Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=224,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )


def _schedule(recipe: Recipe, step: int) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup)
    return (
        recipe.learning_rate
        * warm
        * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / (recipe.horizon or recipe.steps))))
    )


def train(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    on_checkpoint: Callable[[int], None] | None = None,
    log_every: int = 100,
) -> list[dict[str, Any]]:
    """Trains in place and returns the curve.

    A point has the step, the tokens and seconds so far, and for each source the mean loss of its
    completions (nats a token) since the point before.

    Args:
        model: fp32 model, trained in place.
        tokenizer: the lab tokenizer.
        recipe: what to do.
        on_checkpoint: called with the step after each step of ``recipe.checkpoints``.
        log_every: steps between two points of the curve.
    """
    torch.manual_seed(recipe.seed)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    texts = corpus.stream(recipe.seed, recipe.mixture)
    batches = pack(tokenizer, texts, recipe.rows, recipe.row_tokens, recipe.letter_weight)
    curve: list[dict[str, Any]] = []
    started, tokens = time.monotonic(), 0
    totals, counts = torch.zeros(len(SOURCES)), torch.zeros(len(SOURCES))
    model.train()
    for step in range(recipe.steps):
        batch = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = _schedule(recipe, step)
        logits_RTV = model(
            input_ids=batch.ids_RT, attention_mask=batch.mask_R1TT, position_ids=batch.positions_RT, use_cache=False
        ).logits
        losses = F.cross_entropy(logits_RTV[:, :-1].flatten(0, 1), batch.ids_RT[:, 1:].flatten(), reduction="none")
        weights = batch.weights_RT[:, 1:].flatten()
        loss = (losses * weights).sum() / weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        asked = weights >= 1.0
        totals.index_add_(0, batch.sources_RT[:, 1:].flatten()[asked], losses.detach()[asked])
        counts.index_add_(0, batch.sources_RT[:, 1:].flatten()[asked], torch.ones(int(asked.sum())))
        tokens += int((batch.documents_RT >= 0).sum())
        done = step + 1
        if done % log_every == 0 or done == recipe.steps:
            seconds = time.monotonic() - started
            by_source = {
                s: round(v, 4) for s, v, n in zip(SOURCES, (totals / counts).tolist(), counts, strict=True) if n
            }
            curve.append({"step": done, "tokens": tokens, "seconds": round(seconds, 1), "loss": by_source})
            totals.zero_()
            counts.zero_()
            print(f"{recipe.mixture} {done}/{recipe.steps} {seconds:.0f} s {by_source}", flush=True)
        if on_checkpoint and done in recipe.checkpoints:
            on_checkpoint(done)
    model.eval()
    return curve


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a bf16 copy of the model with its tokenizer as a Hugging Face folder."""
    copy = Qwen2ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build(out: Path, base: Recipe = BASE, late: Recipe = LATE, reasoner: Recipe = REASONER) -> None:
    """Runs the whole recipe and writes ``lab-base``, its checkpoints and ``lab-reasoner``."""
    tokenizer = train_tokenizer(base.seed, VOCAB_SIZE)
    torch.manual_seed(base.seed)
    model = Qwen2ForCausalLM(model_config(len(tokenizer)))
    curves = {"lab-base": train(model, tokenizer, base, _keeper(model, tokenizer, base, out))}
    save(model, tokenizer, out / f"lab-base-step{late.start}")
    finish(out, late, reasoner, curves, asdict(base))


def finish(out: Path, late: Recipe, reasoner: Recipe, curves: dict[str, Any], base: dict[str, Any]) -> None:
    """The second stage and the donor, from the stored weights of the first stage."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / f"lab-base-step{late.start}")
    model = Qwen2ForCausalLM.from_pretrained(out / f"lab-base-step{late.start}", dtype=torch.float32)
    curves["lab-base-late"] = train(model, tokenizer, late, _keeper(model, tokenizer, late, out))
    save(model, tokenizer, out / "lab-base")
    donor = Qwen2ForCausalLM.from_pretrained(out / "lab-base", dtype=torch.float32)
    curves["lab-reasoner"] = train(donor, tokenizer, reasoner, log_every=50)
    save(donor, tokenizer, out / "lab-reasoner")
    record = {
        "recipes": {"lab-base": base, "lab-base-late": asdict(late), "lab-reasoner": asdict(reasoner)},
        "parameters": model.num_parameters(),
        "torch": torch.__version__,
        "curves": curves,
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")


def _keeper(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, out: Path
) -> Callable[[int], None]:
    """Saves checkpoints under their number of steps in all."""
    return lambda step: save(model, tokenizer, out / f"lab-base-step{recipe.start + step}")


def main() -> None:
    """Command line of the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the models to")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the steps to do; less than 1 is for trials")
    args = parser.parse_args()
    base, late, reasoner = (_scaled(r, args.scale) for r in (BASE, LATE, REASONER))
    build(args.out, base, replace(late, start=base.steps), reasoner)


def _scaled(recipe: Recipe, scale: float) -> Recipe:
    steps = max(1, round(recipe.steps * scale))
    return replace(recipe, steps=steps, checkpoints=tuple(c for c in recipe.checkpoints if c <= steps))


if __name__ == "__main__":
    main()
