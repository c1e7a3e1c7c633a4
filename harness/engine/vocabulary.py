"""Finding the largest among as many numbers as a vocabulary has tokens.

On a CPU a search through a row of logits costs as much as the model's own layers; the maxima of groups
of tokens are found at the speed of memory, and the search goes on in few of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GROUP = 64  # tokens


def most_likely(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row and where it first stands, ``[rows]`` each; NaN counts as the largest.

    Args:
        scores: ``[rows, vocabulary]``.
    """
    whole = _whole(scores)
    if not whole:
        places = scores.argmax(dim=-1)
    else:
        first = _peaks(scores, whole).argmax(dim=-1, keepdim=True) * _GROUP
        inside = scores.gather(1, first + torch.arange(_GROUP))
        # The rest comes last, so that the first of equals wins.
        candidates = torch.cat([inside, scores[:, whole:]], dim=1)
        places = candidates.argmax(dim=-1)
        places += torch.where(places < _GROUP, first[:, 0], whole - _GROUP)
    return scores.gather(1, places[:, None])[:, 0], places


def largest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and where they stand, as ``topk`` gives them.

    They lie in the k groups with the largest maxima.

    Args:
        scores: ``[rows, vocabulary]``.
        k: how many.
    """
    whole = _whole(scores)
    if whole <= 2 * k * _GROUP:
        return scores.topk(k)
    first = _peaks(scores, whole).topk(k).indices[..., None] * _GROUP
    inside = (first + torch.arange(_GROUP)).flatten(1)
    rest = torch.arange(whole, scores.shape[-1]).expand(len(scores), -1)
    candidates = torch.cat([inside, rest], dim=1)
    values, places = scores.gather(1, candidates).topk(k)
    return values, candidates.gather(1, places)


def _whole(scores: Tensor) -> int:
    """Tokens of whole groups; none on a GPU, whose own search is fast."""
    return 0 if scores.is_cuda else scores.shape[-1] // _GROUP * _GROUP


def _peaks(scores: Tensor, whole: int) -> Tensor:
    """The largest of each group, ``[rows, groups]``."""
    # Seen from the other side, torch goes through memory in order, however the rows lie.
    return scores.T[:whole].unflatten(0, (whole // _GROUP, _GROUP)).amax(dim=1).T
