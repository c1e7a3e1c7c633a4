"""How far each part of each layer moved from one checkpoint to another.

Shao & Wu, "Who Reasons in the Large Language Models?" (NeurIPS 2025), section 2.1. The paper's two
measures are the norm of the difference of a weight, ``||w_B - w_A||_2`` (equation 1), and the relative
change of each element, ``(w_B - w_A) / w_A``. The first grows with the size of a tensor, so the size-free
forms stand beside it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from harness.anatomy import Selector, Site
from harness.anatomy.layouts import Interleaved
from harness.models import tensor_bytes
from harness.stored import StoredModel, StoredTensor

BINS = 201  # of relative change between -1 and 1; odd, so that no change is the middle of a bin
CHUNK = 8 << 20  # elements that are held of each checkpoint at a time; fp32 counts them exactly


@dataclass(frozen=True)
class Delta:
    """What one part of one layer changed by; its weight or its bias.

    Attributes:
        part: which part.
        layer: its layer, or None outside the layers.
        name: name of the parameter.
        is_bias: a bias (or a norm's shift), not a weight.
        elements: number of elements.
        norm: ``||w_B - w_A||_2``, the paper's measure.
        base_norm: ``||w_A||_2``.
        unchanged: share of elements that are equal in both.
        undefined: share of elements that are 0 in A: they have no relative change.
        outside: share of the others whose relative change is beyond -1 or 1.
        counts: ``[BINS]`` elements by relative change between -1 and 1.
        sha256: of the tensor's bytes in A and in B.
    """

    part: str
    layer: int | None
    name: str
    is_bias: bool
    elements: int
    norm: float
    base_norm: float
    unchanged: float
    undefined: float
    outside: float
    counts: NDArray[np.int64]
    sha256: tuple[str, str]

    @property
    def relative(self) -> float:
        """``||w_B - w_A|| / ||w_A||``; infinite if only A is 0."""
        return self.norm / self.base_norm if self.base_norm else (math.inf if self.norm else 0.0)

    @property
    def rms(self) -> float:
        """Root of the mean square of the difference of an element."""
        return self.norm / math.sqrt(self.elements)


def deltas(base: StoredModel, other: StoredModel, parts: Selector, progress: bool = True) -> list[Delta]:
    """Measures every selected part, reading both checkpoints piece by piece.

    Args:
        base: checkpoint A.
        other: checkpoint B, of A's architecture.
        parts: which parts.
        progress: show a bar, in elements.

    Raises:
        ValueError: if the checkpoints differ in architecture or shapes (all differences in one message).
    """
    sites = parts.resolve(base.anatomy)
    if base.anatomy.tied and other.anatomy.tied and any(site.part == "embed" for site in sites):
        sites = tuple(site for site in sites if site.part != "head")  # the embedding's own tensor, in both
    _check(base, other, sites)
    out = []
    total = sum(base.tensor(site.name).elements for site in sites)
    with tqdm(total=total, unit="el", unit_scale=True, desc="delta", disable=not progress or None) as bar:
        for site in sites:
            out.append(_measured(site, base.tensor(site.name), other.tensor(site.name)))
            bar.update(base.tensor(site.name).elements)
    return out


def _check(base: StoredModel, other: StoredModel, sites: tuple[Site, ...]) -> None:
    """Raises one ValueError with everything in which the checkpoints differ."""
    ours, theirs = base.config.model_type, other.config.model_type
    if ours != theirs:
        raise ValueError(f"{base.name} is a {ours} model, {other.name} a {theirs} model")
    wrong = []
    if base.anatomy.n_layers != other.anatomy.n_layers:
        wrong.append(f"layers: {base.anatomy.n_layers} and {other.anatomy.n_layers}")
    there = {site.name for site in other.anatomy.sites}
    for site in sites:
        if site.name not in there:
            wrong.append(f"{site.name}: {other.name} has no such tensor")
        elif (a := base.tensor(site.name).shape) != (b := other.tensor(site.name).shape):
            wrong.append(f"{site.name}: {a} and {b}")
    if wrong:
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise ValueError(
            f"{base.name} and {other.name} cannot be compared:\n  " + "\n  ".join(wrong[:10]) + more + "\n"
            "parts=... chooses the parts that both have in one size"
        )


def _measured(site: Site, a: StoredTensor, b: StoredTensor) -> Delta:
    squares = base_squares = 0.0
    elements = unchanged = undefined = 0
    counts = torch.zeros(BINS, dtype=torch.int64)
    digests = hashlib.sha256(), hashlib.sha256()
    for ours, theirs in _pieces(site, a, b, digests):
        difference = theirs - ours
        squares += float(torch.linalg.vector_norm(difference, dtype=torch.float64)) ** 2
        base_squares += float(torch.linalg.vector_norm(ours, dtype=torch.float64)) ** 2
        elements += ours.numel()
        unchanged += int((difference == 0).sum())
        known = ours != 0
        undefined += ours.numel() - int(known.sum())
        change = difference[known] / ours[known]
        for piece in change.split(CHUNK):
            counts += torch.histogram(piece, BINS, range=(-1.0, 1.0)).hist.long()
    defined = elements - undefined
    return Delta(
        part=site.part,
        layer=site.layer,
        name=site.name,
        is_bias=site.is_bias,
        elements=elements,
        norm=math.sqrt(squares),
        base_norm=math.sqrt(base_squares),
        unchanged=unchanged / elements,
        undefined=undefined / elements,
        outside=(defined - int(counts.sum())) / defined if defined else 0.0,
        counts=counts.numpy(),
        sha256=(digests[0].hexdigest(), digests[1].hexdigest()),
    )


def _pieces(site: Site, a: StoredTensor, b: StoredTensor, digests: tuple[Any, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """The part in both checkpoints, in fp32, some rows at a time; what is read goes into the digests."""
    # Heads lie one after another in an interleaved tensor: its rows cannot be cut anywhere.
    whole = len(a.shape) == 1 or isinstance(site.layout, Interleaved)
    step = a.shape[0] if whole else max(1, CHUNK // max(1, a.elements // max(1, a.shape[0])))
    for start in range(0, a.shape[0], step):
        read = []
        for tensor, digest in zip((a, b), digests, strict=True):
            rows = tensor.rows(start, start + step)
            digest.update(tensor_bytes(rows))
            read.append(site.layout.read(rows).float().reshape(-1))
        yield read[0], read[1]
