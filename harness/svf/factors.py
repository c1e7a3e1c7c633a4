"""The one orthonormal factor of a weight that singular-value fine-tuning needs.

With W = U diag(S) Vᵀ (Sun, Cetin & Tang, "Transformer-Squared", ICLR 2025, section 3.1) singular values are scaled by

    tall or square W [m, n], m >= n:  U diag(S z) Vᵀ = W · V diag(z) Vᵀ
    wide W [m, n], m < n:             U diag(S z) Vᵀ = U diag(z) Uᵀ · W

so only the square factor of the smaller side is kept, W itself stays where it is, and z = 1 changes nothing at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from harness.files import write_bytes
from harness.models import tensor_bytes

Method = Literal["auto", "eigh", "svd"]
FORMAT = 1  # 1: first version
# Singular directions closer together than this (relative to the largest value) have no order to check.
_SLACK = 1e-6


@dataclass(frozen=True)
class Factor:
    """The factor of one weight.

    Attributes:
        q_RR: orthonormal columns, singular directions in falling order of their values (V where the weight is tall or
            square, U where it is wide).
        s_R: singular values, fp32 or better.
        tall: q belongs to the input side.
    """

    q_RR: Tensor
    s_R: Tensor
    tall: bool


def factor(weight_MN: Tensor, method: Method = "auto") -> Factor:
    """Computes the factor of a weight on its device.

    ``eigh`` takes it from the Gram matrix of the smaller side in fp64: it squares the condition, which fp64 affords to
    weights of fp32 or less. ``auto`` takes it for these and checks the result; it takes ``svd`` for weights of fp64 and
    where the check fails.

    Args:
        weight_MN: the weight, output features first.
        method: how.

    Raises:
        ValueError: for a weight that is no matrix, or holds NaN or infinity.
    """
    if weight_MN.ndim != 2 or not weight_MN.isfinite().all():
        raise ValueError(f"a weight of shape {tuple(weight_MN.shape)} has no singular values, or is not finite")
    if method == "svd" or (method == "auto" and weight_MN.dtype == torch.float64):
        return _by_svd(weight_MN)
    found = _by_eigh(weight_MN)
    return found if method == "eigh" or _in_order(found) else _by_svd(weight_MN)


def _by_eigh(weight_MN: Tensor) -> Factor:
    w = weight_MN.double()
    tall = w.shape[0] >= w.shape[1]
    gram_RR = w.T @ w if tall else w @ w.T
    values_R, q_RR = torch.linalg.eigh(gram_RR)
    s_R = values_R.flip(0).clamp_min(0).sqrt()
    return Factor(q_RR.flip(1), s_R, tall)


def _by_svd(weight_MN: Tensor) -> Factor:
    w = weight_MN.double()
    u_MR, s_R, v_RN = torch.linalg.svd(w, full_matrices=False)
    tall = w.shape[0] >= w.shape[1]
    return Factor(v_RN.T if tall else u_MR, s_R, tall)


def _in_order(found: Factor) -> bool:
    """Orthonormal, and values that do not rise."""
    q = found.q_RR
    error = (q.T @ q - torch.eye(q.shape[0], dtype=q.dtype, device=q.device)).abs().max()
    rises = (found.s_R[1:] - found.s_R[:-1]).clamp_min(0).max() if len(found.s_R) > 1 else torch.zeros(())
    return bool(error < 1e-10) and bool(rises <= _SLACK * found.s_R[0])


def scaled(weight_MN: Tensor, found: Factor, z_R: Tensor) -> Tensor:
    """W' with its singular values multiplied by z, in the precision of z or the factor, whichever is higher.

    Only the change is computed and added, so z = 1 gives the weight bit by bit.
    """
    change_MN = change(weight_MN, found, z_R)
    return (weight_MN.to(change_MN.dtype) + change_MN).to(weight_MN.dtype)


def change(weight_MN: Tensor, found: Factor, z_R: Tensor) -> Tensor:
    """W' - W, in that precision."""
    kind = torch.promote_types(torch.promote_types(z_R.dtype, found.q_RR.dtype), torch.float32)
    q, d, w = found.q_RR.to(kind), (z_R - 1).to(kind), weight_MN.to(kind)
    return (w @ q * d) @ q.T if found.tall else (q * d) @ (q.T @ w)


def _read(path: Path, weight_MN: Tensor) -> Factor:
    """A kept factor.

    Raises:
        ValueError: if the file is damaged, or another weight's.
    """
    rank = min(weight_MN.shape)
    try:
        tensors = load_file(path)
        q_RR, s_R = tensors["q"], tensors["s"]
        if q_RR.shape != (rank, rank) or s_R.shape != (rank,):
            raise ValueError(f"shapes {tuple(q_RR.shape)} and {tuple(s_R.shape)}, expected rank {rank}")
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no factor of this weight: {error}. Delete it to compute it again.") from error
    return Factor(q_RR, s_R, weight_MN.shape[0] >= weight_MN.shape[1])


class Factors:
    """Factors by the weights they belong to: computed once, kept in memory and, if wanted, in a folder.

    Args:
        folder: where factors are kept as safetensors, one file a weight; None keeps none.
        method: how they are computed.
    """

    def __init__(self, folder: Path | None = None, method: Method = "auto") -> None:
        self.folder, self.method = folder, method
        self._known: dict[str, Factor] = {}

    def of(self, weight_MN: Tensor) -> Factor:
        """The factor of a weight on its device, as fp32 (fp64 for a weight of fp64)."""
        digest = self._digest(weight_MN)
        if digest not in self._known:
            self._known[digest] = self._stored(digest, weight_MN)
        found = self._known[digest]
        device = weight_MN.device
        return Factor(found.q_RR.to(device), found.s_R.to(device), found.tall)

    def _digest(self, weight_MN: Tensor) -> str:
        digest = hashlib.sha256(f"{FORMAT} {self.method} {weight_MN.dtype} {tuple(weight_MN.shape)}".encode())
        digest.update(tensor_bytes(weight_MN.detach().cpu().contiguous()))
        return digest.hexdigest()

    def _stored(self, digest: str, weight_MN: Tensor) -> Factor:
        if self.folder is None:
            return self._computed(weight_MN)
        path = self.folder / f"{digest}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f".{digest}.lock"):
            if not path.is_file():
                found = self._computed(weight_MN)
                write_bytes(path, save({"q": found.q_RR.cpu().contiguous(), "s": found.s_R.cpu().contiguous()}))
            return _read(path, weight_MN)

    def _computed(self, weight_MN: Tensor) -> Factor:
        found = factor(weight_MN, self.method)
        kind = torch.promote_types(weight_MN.dtype, torch.float32)
        return Factor(found.q_RR.to(kind), found.s_R.to(kind), found.tall)
