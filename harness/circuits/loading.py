"""Loading the model whose circuits are looked at."""

from __future__ import annotations

import torch

from harness.config.compose import compose_model
from harness.models import Base, ModelRef, load_base

DTYPES = ("float32", "float64", "bfloat16", "float16", "auto")


def load(model: str, device: str = "auto", dtype: str = "float32") -> Base:
    """A model by name, folder or hub id.

    Args:
        model: which.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the weights.

    Raises:
        ValueError: if it cannot be loaded.
    """
    name, config = compose_model(model)
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: expected {', '.join(DTYPES)}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device}: there is no GPU here; take device=cpu")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return load_base(ModelRef(name, config.path, config.revision, dtype, chosen))
