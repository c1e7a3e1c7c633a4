"""Training a crosscoder against the loop that is published, on the same models, text, settings and first weights.

The loop, written from the description of the released code of Crosscoding Through Time: a buffer that is filled anew by
whole forwards of each model (logits included, which nobody reads), put in a drawn order by copying it, and served in
slices; encoder and decoder as products over models and width; explained variance and sparsity computed at every step.
Both run on one device, in fp32, with one filling of the buffer for the tokens that are asked for.

First both take the same batches from the same weights: their losses have to agree. Then each trains alone in a process
of its own: tokens a second (reading the models and training), and the largest resident memory less that of the models
alone.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.config.crosscoder import BufferConfig, TextConfig, TrainingConfig
from harness.crosscoder.buffer import ActivationBuffer
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.loss import losses
from harness.crosscoder.members import members
from harness.crosscoder.schedule import Schedule
from harness.crosscoder.tokens import sinks_of, stacked, take, texts_of, token_rows
from harness.crosscoder.train import Training, new_training

MODELS = ("lab-base-step800", "lab-base-step1500", "lab-base")
LAYER, LENGTH = 1, 192


class PlainCrosscoder(nn.Module):
    """The published forward and losses."""

    def __init__(self, encoder_MDK: Tensor, decoder_KMD: Tensor, centre_MD: Tensor) -> None:
        super().__init__()
        self.W_enc, self.W_dec = nn.Parameter(encoder_MDK.clone()), nn.Parameter(decoder_KMD.clone())
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(len(decoder_KMD))), nn.Parameter(centre_MD.clone())

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Squared error, weighted sparsity, and what is logged at each step."""
        acts = torch.relu(torch.einsum("bmd,mdh->bh", x, self.W_enc) + self.b_enc)
        back = torch.einsum("bh,hmd->bmd", acts, self.W_dec) + self.b_dec
        squared = (back.float() - x.float()).pow(2)
        l2 = squared.sum(dim=(1, 2)).mean()
        total = (x - x.mean(0)).pow(2)
        logged = {"ev": (1 - squared.sum((1, 2)) / total.sum((1, 2))).mean()}
        for m in range(x.shape[1]):
            logged[f"ev_{m}"] = (1 - squared[:, m].sum(-1) / total[:, m].sum(-1)).mean()
        l1 = (acts * self.W_dec.norm(dim=-1).sum(dim=1)).sum(-1).mean()
        logged["l0"] = (acts > 0).float().sum(-1).mean()
        return l2, l1, logged


def prepared(args: argparse.Namespace) -> tuple[Lineup, TextConfig, TrainingConfig]:
    """Models, text and settings of both."""
    lineup = Lineup(members(MODELS, "cpu", "float32", resident=True), LAYER)
    config = TrainingConfig(latents=args.latents, tokens=args.tokens, batch=args.batch, l1=0.7, dead="none")
    return lineup, TextConfig(length=LENGTH), config


def ours(args: argparse.Namespace, lineup: Lineup, text: TextConfig, config: TrainingConfig) -> Training:
    """Our training, ready to run."""
    texts, megabytes = texts_of(text), 2 * args.tokens * len(MODELS) * lineup.width * 4 // 2**20 + 64
    buffer = ActivationBuffer(
        lineup, lambda: token_rows(texts, lineup.tokenizer, text), BufferConfig(megabytes=megabytes, batch_tokens=4096),
        sinks_of(lineup.tokenizer), True, 0, args.tokens,
    )  # fmt: skip
    return new_training(buffer, len(MODELS), lineup.width, config, {})


def published(args: argparse.Namespace, lineup: Lineup, text: TextConfig, config: TrainingConfig) -> float:
    """The published loop; returns its last loss."""
    rows = take(token_rows(texts_of(text), lineup.tokenizer, text), args.tokens * 11 // 10)
    together = stacked(rows, sinks_of(lineup.tokenizer), True)
    parts = []
    for begin in range(0, len(rows), 20):
        batch = together.batch(begin, begin + 20)
        seen = []
        for m in range(len(MODELS)):
            with lineup.open(m) as reader, torch.no_grad():
                out = reader.model(batch.ids_RT, attention_mask=batch.attention_RT, output_hidden_states=True)
                seen.append(out.hidden_states[LAYER + 1][batch.kept_RT])
        parts.append(torch.stack(seen, dim=1))
    buffer = torch.cat(parts)[: args.tokens]
    buffer = buffer[torch.randperm(len(buffer))]
    scale = lineup.width**0.5 / buffer.norm(dim=-1).mean(0)
    start = ours(args, lineup, text, config).crosscoder
    start.start(buffer.mean(0), buffer.norm(dim=-1).mean(0), 0.08, torch.Generator().manual_seed(0))
    plain = PlainCrosscoder(start.encoder_MDK, start.decoder_KMD, start.centre_MD)
    optimiser, schedule = torch.optim.Adam(plain.parameters(), lr=config.rate), Schedule.of(config)
    loss = torch.zeros(())
    for step in range(len(buffer) // args.batch):
        x = buffer[step * args.batch : (step + 1) * args.batch].float() * scale[:, None]
        l2, l1, _ = plain.losses(x)
        loss = l2 + schedule.l1(step) * l1
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        optimiser.step()
    return float(loss)


def agree(args: argparse.Namespace, steps: int = 50) -> float:
    """Largest relative difference of the losses over some steps from the same weights on the same batches."""
    lineup, text, config = prepared(args)
    training = ours(args, lineup, text, config)
    training.begin()
    mine = training.crosscoder
    plain = PlainCrosscoder(mine.encoder_MDK.detach(), mine.decoder_KMD.detach(), mine.centre_MD.detach())
    optimisers = [torch.optim.Adam(model.parameters(), lr=config.rate) for model in (mine, plain)]
    worst = 0.0
    for _ in range(steps):
        x = training.buffer.batch(args.batch)
        assert x is not None
        l2, l1, _ = plain.losses(mine.scaled(x))
        both = losses(mine, x, config.l1, 0, None, 0.0).total, l2 + config.l1 * l1
        worst = max(worst, abs(float(both[0].detach() / both[1].detach()) - 1))
        for loss, optimiser in zip(both, optimisers, strict=True):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return worst


def memory(which: str) -> float:
    """Resident memory of this process in MiB: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def alone(args: argparse.Namespace) -> dict[str, float]:
    """One of the two in this process: seconds and memory."""
    lineup, text, config = prepared(args)
    before = memory("VmRSS")
    begin = time.perf_counter()
    if args.only == "here":
        training = ours(args, lineup, text, config)
        training.begin()
        training.run(progress=False)
        loss = training.log[-1]["loss"]
    else:
        loss = published(args, lineup, text, config)
    seconds = time.perf_counter() - begin
    return {
        "tokens_a_second": args.tokens / seconds,
        "seconds": seconds,
        "peak_mib": memory("VmHWM") - before,
        "last_loss": loss,
    }


def main() -> None:
    """Compares, and prints ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=300_000)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--only", choices=("here", "loop"), help="run one of the two and print its figures as JSON")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.only:
        print(json.dumps(alone(args)))
        return
    worst = agree(args)
    print(f"torch {torch.__version__}, one thread, fp32, {args.latents} latents, {args.tokens:,} tokens")
    print(f"largest relative difference of the losses over 50 steps: {worst:.1e}")
    found: dict[str, Any] = {"latents": args.latents, "tokens": args.tokens, "worst": worst}
    for which in ("loop", "here"):
        sizes = [f"--{k}={getattr(args, k)}" for k in ("latents", "tokens", "batch")]
        command = [sys.executable, "-m", "benchmarks.crosscoder", *sizes, f"--only={which}"]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[which] = json.loads(told.strip().splitlines()[-1])
        print(f"{which}: " + ", ".join(f"{k} {v:.4g}" for k, v in found[which].items()), flush=True)
    speed = found["here"]["tokens_a_second"] / found["loop"]["tokens_a_second"]
    less = found["loop"]["peak_mib"] / found["here"]["peak_mib"]
    print(f"{speed:.2f} times the tokens a second, {less:.2f} times less memory")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
