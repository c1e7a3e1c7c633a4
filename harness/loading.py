"""A model by name, where it is to be held and how."""

from __future__ import annotations

import torch

from harness.config.compose import compose_model
from harness.models import Base, ModelRef, load_base

DTYPES = ("float32", "float64", "bfloat16", "float16", "auto")


def check_place(dtype: str, device: str) -> None:
    """Checks where and how a model is to be held, before it is loaded.

    Raises:
        ValueError: for an unknown dtype, or a GPU where there is none.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: expected {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device}: there is no GPU here; take device=cpu")


def device_of(device: str) -> str:
    """A torch device; ``auto`` takes a GPU if there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def ref_of(model: str, device: str = "auto", dtype: str = "float32") -> ModelRef:
    """Where a model lies, by name, folder, hub id or any of these with a revision.

    Args:
        model: which.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the weights.

    Raises:
        ValueError: for a name that is none of these, or a place that is not there.
    """
    name, config = compose_model(model)
    check_place(dtype, device)
    return ModelRef(name, config.path, config.revision, dtype, device_of(device))


def load(model: str, device: str = "auto", dtype: str = "float32") -> Base:
    """Loads a model; arguments as in `ref_of`.

    Raises:
        ValueError: if it cannot be loaded.
    """
    return load_base(ref_of(model, device, dtype))
