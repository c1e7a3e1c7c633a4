"""A training on the disk: one safetensors file with weights, optimiser state and where everything stood."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from harness.crosscoder.crosscoder import Crosscoder, Shape
from harness.files import write_bytes

FORMAT = 1  # 1: first version
STATE, WEIGHTS = "training.safetensors", "crosscoder.safetensors"


@dataclass(frozen=True)
class Stored:
    """Tensors and the record beside them."""

    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]


def write(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Writes both as one file, whole or not at all."""
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_bytes(path, save(plain, {"harness": json.dumps({"format": FORMAT, **record})}))


def read(path: Path) -> Stored:
    """Reads such a file.

    Raises:
        ValueError: if it is not one.
    """
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["harness"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a saved crosscoder: {type(error).__name__}: {error}") from error
    if record.get("format") != FORMAT:
        raise ValueError(f"{path}: format {record.get('format')}, this version reads {FORMAT}")
    return Stored(tensors, record)


def save_crosscoder(crosscoder: Crosscoder, path: Path, record: Mapping[str, Any]) -> None:
    """Writes a crosscoder and what made it."""
    tensors = dict(crosscoder.state_dict())
    if crosscoder.norms_of_training_KM is not None:
        tensors["norms_of_training_KM"] = crosscoder.norms_of_training_KM
    write(path, tensors, {"shape": crosscoder.record(), **record})


def load_crosscoder(path: Path) -> tuple[Crosscoder, Mapping[str, Any]]:
    """Reads a crosscoder and its record.

    Raises:
        ValueError: if the file is not a crosscoder.
    """
    stored = read(path)
    tensors = dict(stored.tensors)
    try:
        crosscoder = Crosscoder(Shape(**stored.record["shape"]))
        norms = tensors.pop("norms_of_training_KM", None)
        crosscoder.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is not a saved crosscoder: {type(error).__name__}: {error}") from error
    crosscoder.norms_of_training_KM = norms
    return crosscoder.requires_grad_(False), stored.record


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step, by the parameter's place."""
    out = {}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            out[f"adam.{index}.{key}"] = torch.as_tensor(value)
    return out


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts what `optimiser_tensors` gave back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
