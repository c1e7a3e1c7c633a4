"""A circuit on the disk: ``circuit.json`` says what it is and what made it, ``means.safetensors`` fills its gaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from harness.circuits.ablation import Means
from harness.circuits.nodes import Head, parse_heads
from harness.files import write_bytes, write_text

FORMAT = 1  # 1: first version
JSON, MEANS = "circuit.json", "means.safetensors"


@dataclass(frozen=True)
class CircuitFile:
    """A circuit and its record.

    Attributes:
        heads: the circuit.
        shape: layers and heads of the model.
        fingerprint: of the model.
        record: everything else: task, model, method, prompts, metric, ablation, seeds, costs, verification, versions.
        whole: mean output of each head over the corrupt prompts, ``[L, H, D]``; None for an ablation without means.
    """

    heads: tuple[Head, ...]
    shape: tuple[int, int]
    fingerprint: str
    record: Mapping[str, Any] = field(default_factory=dict)
    whole: Tensor | None = None

    def save(self, folder: Path) -> list[Path]:
        """Writes both files; each is whole or as it was, and the JSON comes last."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "heads": [str(head) for head in sorted(self.heads)],
            "layers": self.shape[0],
            "heads_per_layer": self.shape[1],
            "fingerprint": self.fingerprint,
            **self.record,
        }
        paths = []
        if self.whole is not None:
            write_bytes(folder / MEANS, save({"whole": self.whole.contiguous()}))
            content["means"] = {"file": MEANS, "digest": Means(self.whole).digest}
            paths.append(folder / MEANS)
        write_text(folder / JSON, json.dumps(content, indent=1) + "\n")
        return [folder / JSON, *paths]

    @classmethod
    def load(cls, path: Path) -> CircuitFile:
        """Reads a circuit from its folder or its JSON.

        Raises:
            ValueError: if a file is missing, of another format, or does not fit the other.
        """
        file = path / JSON if path.is_dir() else path
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
            shape = int(content["layers"]), int(content["heads_per_layer"])
            heads = parse_heads(content["heads"])
            fingerprint = str(content["fingerprint"])
            whole = _means(file.parent, content["means"], shape) if "means" in content else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise ValueError(f"{file} is no circuit: {type(error).__name__}: {error}") from error
        if strange := [h for h in heads if h.layer >= shape[0] or h.head >= shape[1]]:
            raise ValueError(f"{file}: head {strange[0]} of a model with {shape[0]} layers of {shape[1]} heads")
        known = {"format", "heads", "layers", "heads_per_layer", "fingerprint", "means"}
        return cls(heads, shape, fingerprint, {k: v for k, v in content.items() if k not in known}, whole)


def _means(folder: Path, said: Mapping[str, Any], shape: tuple[int, int]) -> Tensor:
    whole = load((folder / Path(said["file"]).name).read_bytes())["whole"]
    if Means(whole).digest != said["digest"]:
        raise ValueError(f"{said['file']} does not match the digest in {JSON}; it was altered")
    if tuple(whole.shape[:2]) != shape or not torch.isfinite(whole).all():
        raise ValueError(
            f"{said['file']}: means of shape {tuple(whole.shape)} for {shape[0]} layers of {shape[1]} heads"
        )
    return whole


def read_heads(path: Path) -> tuple[str, tuple[Head, ...]]:
    """Source and heads of a circuit to compare with: a JSON object with ``heads``, such as any circuit of ours.

    Raises:
        ValueError: for a file of another form.
    """
    file = path / JSON if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return str(content.get("source", file)), parse_heads(content["heads"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{file} is no circuit: {error}; expected {{"heads": ["9.6", ...]}}') from error
