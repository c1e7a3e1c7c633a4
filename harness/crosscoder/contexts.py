"""Where a latent fires, and what it writes towards the output.

Axes: N tokens that are used, J chosen latents, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.anatomy import ARCHITECTURES
from harness.crosscoder.crosscoder import Crosscoder
from harness.crosscoder.lineup import Lineup
from harness.crosscoder.readings import Readings

BEFORE, BEHIND = 24, 8  # tokens shown around the strongest


@dataclass(frozen=True)
class Context:
    """A piece of text with a latent's values.

    Attributes:
        tokens: as text.
        values: of each token; 0 where the latent is off or the token is left out.
        at: place of the strongest.
    """

    tokens: tuple[str, ...]
    values: tuple[float, ...]
    at: int


@dataclass(frozen=True)
class Writes:
    """What a latent's direction says to the output head of one model, directly.

    Attributes:
        up: tokens whose logits it raises most, with how much a unit of it does.
        down: those that it lowers most.
    """

    up: tuple[tuple[str, float], ...]
    down: tuple[tuple[str, float], ...]


def contexts(
    crosscoder: Crosscoder, lineup: Lineup, readings: Readings, chosen: Sequence[int], most: int
) -> list[list[Context]]:
    """The contexts where each latent is strongest, at most one of each row.

    Args:
        crosscoder: trained.
        lineup: its models.
        readings: text that is searched.
        chosen: latents.
        most: contexts of each.
    """
    device = crosscoder.bias_K.device
    index = list(chosen)
    with torch.no_grad():
        parts = readings.x_NMD.split(4096)
        code_NJ = torch.cat([crosscoder.encode(part.to(device))[:, index].cpu() for part in parts])
    rows, places = readings.rows.kept_RT.nonzero(as_tuple=True)
    whole = torch.zeros(*readings.rows.ids_RT.shape)
    out = []
    for j in range(len(index)):
        whole.zero_()
        whole[rows, places] = code_NJ[:, j]
        best_R, at_R = whole.max(dim=1)
        strongest = best_R.topk(min(most, len(best_R)))
        out.append(
            [
                _context(lineup, readings, whole[row], row, int(at_R[row]))
                for value, row in zip(strongest.values.tolist(), strongest.indices.tolist(), strict=True)
                if value > 0
            ]
        )
    return out


def _context(lineup: Lineup, readings: Readings, values_T: Tensor, row: int, at: int) -> Context:
    length = int(readings.rows.attention_RT[row].sum())
    begin, end = max(0, at - BEFORE), min(length, at + BEHIND + 1)
    ids = readings.rows.ids_RT[row, begin:end].tolist()
    tokens = tuple(_text(lineup, i) for i in ids)
    return Context(tokens, tuple(values_T[begin:end].tolist()), at - begin)


def _text(lineup: Lineup, token: int) -> str:
    """A token as text."""
    return str(lineup.tokenizer.decode([token]))


@torch.no_grad()
def writes(crosscoder: Crosscoder, lineup: Lineup, chosen: Sequence[int], most: int = 8) -> list[list[Writes]]:
    """For each model and latent, what the direction says to the head through the last norm's weights.

    Later layers read the direction as well: this is the part of its effect that needs none of them.
    """
    out = []
    for m in range(len(lineup.members)):
        with lineup.open(m) as reader:
            model = reader.model
            head = model.get_output_embeddings()
            assert head is not None
            norm = model.get_submodule(ARCHITECTURES[model.config.model_type].outer_norms[-1])
            weight = getattr(norm, "weight", None)  # OLMo's has none
            direction_JD = crosscoder.directions(m)[list(chosen)].to(head.weight)
            if weight is not None:
                direction_JD = direction_JD * weight
            logits_JV = (direction_JD @ head.weight.T).float().cpu()
        logits_JV = logits_JV - logits_JV.mean(dim=1, keepdim=True)
        out.append([_writes(lineup, logits_V, most) for logits_V in logits_JV])
    return out


def _writes(lineup: Lineup, logits_V: Tensor, most: int) -> Writes:
    def told(order: Tensor) -> tuple[tuple[str, float], ...]:
        return tuple((_text(lineup, i), float(logits_V[i])) for i in order.tolist())

    order = logits_V.argsort(descending=True)
    return Writes(told(order[:most]), told(order[-most:].flip(0)))
