"""What the tests of crosscoders share: activations with planted features, and line-ups of tiny models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conftest import VOCAB
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from harness.anatomy import Anatomy
from harness.crosscoder.crosscoder import Crosscoder, Shape
from harness.crosscoder.items import Items, Pair
from harness.crosscoder.lineup import Lineup, Member
from harness.crosscoder.tokens import Rows, stacked
from harness.models import Base, ModelRef, fingerprint

NO_SINKS = torch.empty(0, dtype=torch.long)
PATTERNS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1))


class Planted:
    """Three models whose activations are made of 48 known features, each in some of the models."""

    def __init__(self, seed: int = 0, features: int = 48, width: int = 32) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.pattern_GM = torch.tensor([PATTERNS[i % 6] for i in range(features)], dtype=torch.float)
        drawn = torch.randn(features, width, generator=generator)
        self.direction_GD = drawn / drawn.norm(dim=1, keepdim=True)
        self.served, self._seed = 0, seed

    def _draw(self, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, len(self.pattern_GM))
        on = (torch.rand(shape, generator=generator) < 0.04).float()
        value = on * (torch.rand(shape, generator=generator) + 0.5)
        return torch.einsum("ng,gm,gd->nmd", value, self.pattern_GM, self.direction_GD)

    def batch(self, size: int) -> Tensor | None:
        self.served += size
        return self._draw(size, 10**6 * (self._seed + 1) + self.served)

    def sample(self, tokens: int) -> Tensor:
        return self._draw(min(tokens, 8192), self._seed + 77)

    def state(self) -> dict[str, int]:
        return {"served": self.served}

    def restore(self, state: dict[str, int]) -> None:
        self.served = state["served"]

    def recovered(self, crosscoder: Crosscoder) -> int:
        """Features that some latent has in exactly the models where they are."""
        truth = torch.einsum("gm,gd->gmd", self.pattern_GM * crosscoder.scale_M, self.direction_GD).flatten(1)
        found = crosscoder.decoder_KMD.flatten(1)
        cosine = torch.nn.functional.normalize(truth, dim=1) @ torch.nn.functional.normalize(found, dim=1).T
        best = cosine.max(dim=1)
        share_KM = crosscoder.norms_KM / crosscoder.norms_KM.sum(dim=1, keepdim=True)
        there = (share_KM[best.indices] > 0.1).float()
        return int(((there == self.pattern_GM).all(dim=1) & (best.values > 0.9)).sum())


def tokenizer() -> PreTrainedTokenizerFast:
    """Words w2, w3, ... of the tiny models' vocabulary."""
    words = {"<end>": 0, "<unk>": 1, **{f"w{i}": i for i in range(2, VOCAB)}}
    inner = Tokenizer(WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", unk_token="<unk>")


def base_of(model: PreTrainedModel, name: str = "tiny") -> Base:
    return Base(ModelRef(name, name), model, tokenizer(), Anatomy.of(model), fingerprint(model))


def lineup_of(models: Sequence[PreTrainedModel], layer: int | None = 0) -> Lineup:
    bases = [base_of(model, f"m{i}") for i, model in enumerate(models)]
    return Lineup([Member(base.name, lambda base=base: base) for base in bases], layer)


def random_rows(count: int = 6, length: int = 10, seed: int = 0, first: bool = True) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, length + 1, (count,), generator=generator).tolist()
    return stacked([torch.randint(2, VOCAB, (n,), generator=generator) for n in lengths], NO_SINKS, first)


def random_items(count: int = 6, seed: int = 0) -> Items:
    rows = random_rows(count, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    right = torch.randint(2, VOCAB // 2, (count,), generator=generator)
    wrong = torch.randint(VOCAB // 2, VOCAB, (count,), generator=generator)
    pairs = tuple(Pair(str(i), "", "", "g", str(i)) for i in range(count))
    ends = rows.attention_RT.sum(dim=1) - 1
    return Items(rows, ends, right, wrong, ("g",) * count, tuple(range(count)), pairs, {})


def random_crosscoder(
    models: int, width: int, latents: int = 24, seed: int = 0, scale: Sequence[float] = ()
) -> Crosscoder:
    """Weights that are far from their start, so that a mistake in any of them shows."""
    crosscoder = Crosscoder(Shape(models, width, latents)).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in crosscoder.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    if scale:
        crosscoder.scale_M.copy_(torch.tensor(scale))
    return crosscoder
