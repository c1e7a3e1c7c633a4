"""Loading the model whose circuits are looked at."""

from __future__ import annotations

import torch

from harness.config.compose import compose_model
from harness.models import Base, ModelRef, check_place, load_base


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
    check_place(dtype, device)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return load_base(ModelRef(name, config.path, config.revision, dtype, chosen))
