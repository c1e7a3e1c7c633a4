"""A variant of a model, as the tensors that replace some of its own."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from harness.models import hash_tensors
from harness.patch.routing import Router
from harness.patch.swap import swapped

FORMAT = 1  # 1: first version


@dataclass(frozen=True)
class Change:
    """One line of a plan: what happens to one part of one layer.

    Attributes:
        name: stored tensor (or layer) that is touched.
        part: the part's name, ``layer`` for a removed layer.
        layer: its layer, or None outside the layers.
        parameters: elements touched.
        source: where the new values come from.
    """

    name: str
    part: str
    layer: int | None
    parameters: int
    source: str


@dataclass(frozen=True)
class Provenance:
    """What made a patch; everything in it is computed or read from the config.

    Attributes:
        method: name of the method.
        config: the method's whole config.
        base: fingerprint of the base model.
        donors: fingerprint of each donor, by name.
        seeds: seeds used.
        versions: versions of the libraries used.
        changes: what was touched, in order.
        trained: number of parameters that were trained.
        measured: what was measured while it was made (steps, steps a second, losses).
    """

    method: str
    config: Mapping[str, Any] = field(default_factory=dict)
    base: str = ""
    donors: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    trained: int = 0
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def touched(self) -> int:
        """Number of parameters touched; what is touched twice counts once a change."""
        return sum(c.parameters for c in self.changes)


@dataclass(frozen=True)
class Patch:
    """Named tensors and edits of the config that turn a base into a variant.

    Attributes:
        tensors: stored parameter name -> whole new tensor. Names are the base's own, also when
            layers are dropped. A name the base lacks must be a bias of one of its linear modules.
        kept_layers: which of the base's layers remain, in order; None for all.
        untied: the head gets a tensor of its own.
        config_edits: other edits of the config (as an added bias needs for export).
        provenance: what made it; not part of the digest.
        router: chooses a further patch for each document that is asked; None for a variant that does not adapt.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    kept_layers: tuple[int, ...] | None = None
    untied: bool = False
    config_edits: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=lambda: Provenance("base"))
    router: Router | None = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the patch does: the variant's identity."""
        digest = hashlib.sha256()
        edits: dict[str, Any] = {
            "kept_layers": self.kept_layers,
            "untied": self.untied,
            "config": dict(self.config_edits),
        }
        if self.router is not None:
            edits["router"] = self.router.identity
        digest.update(json.dumps(edits, sort_keys=True, default=str).encode())
        hash_tensors(self.tensors.items(), digest)
        return digest.hexdigest()

    @property
    def is_empty(self) -> bool:
        """The variant is the base itself."""
        changed = self.tensors or self.untied or self.config_edits or self.router
        return not changed and self.kept_layers is None

    def applied(self, model: PreTrainedModel) -> AbstractContextManager[PreTrainedModel]:
        """Context in which the model is the variant; afterwards it is the base again, bit by bit.

        Everything is checked before anything is touched; the model's own tensors are put back by
        reference, also when the body raises.

        Raises:
            ValueError: if the patch does not fit the model (all misfits in one message).
        """
        return swapped(model, self.tensors, self.kept_layers, self.untied, self.config_edits)

    def check_static(self) -> None:
        """Raises a ValueError if the variant is not one model: it adapts to what it is asked."""
        if self.router is not None:
            raise ValueError(
                f"a variant of method {self.provenance.method} chooses a patch for each document, so it is no single "
                "model that could be written out or built upon; take its experts instead"
            )

    def save(self, folder: Path) -> None:
        """Writes ``patch.safetensors`` and ``patch.json``; the folder appears whole or not at all.

        Raises:
            ValueError: if the folder exists and is not empty.
        """
        self.check_static()
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} exists and is not empty; a patch is written to a new folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
            work = Path(name) / "patch"
            work.mkdir()
            save_file(
                {k: v.detach().cpu().contiguous().clone() for k, v in self.tensors.items()}, work / "patch.safetensors"
            )
            record = {
                "format": FORMAT,
                "digest": self.digest,
                "kept_layers": self.kept_layers,
                "untied": self.untied,
                "config_edits": dict(self.config_edits),
                "provenance": asdict(self.provenance),
            }
            (work / "patch.json").write_text(json.dumps(record, indent=1) + "\n")
            if folder.exists():
                folder.rmdir()
            os.replace(work, folder)

    @classmethod
    def load(cls, folder: Path) -> Patch:
        """Reads a saved patch and checks its digest.

        Raises:
            ValueError: if a file is missing, of another format, or does not match its digest.
        """
        try:
            record = json.loads((folder / "patch.json").read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError(f"format {record['format']}, this version reads {FORMAT}")
            tensors = load_file(folder / "patch.safetensors")
            kept, source = record["kept_layers"], record["provenance"]
            changes = tuple(Change(**c) for c in source.pop("changes"))
            patch = cls(
                tensors,
                tuple(kept) if kept is not None else None,
                record["untied"],
                record["config_edits"],
                Provenance(**source, changes=changes),
            )
            altered = patch.digest != record["digest"]
        except FileNotFoundError as error:
            raise ValueError(f"{folder} is not a saved patch: {error.filename} is missing") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise ValueError(f"{folder} is not a saved patch: {type(error).__name__}: {error}") from error
        if altered:
            raise ValueError(f"{folder}: the tensors do not match the recorded digest; the patch was altered")
        return patch

    def then(self, second: Patch, layers_path: str, provenance: Provenance) -> Patch:
        """This patch followed by one that was built on the model it makes.

        Args:
            second: a patch whose names are those of the patched model.
            layers_path: path of the layers' list, to translate layer numbers back to the base's.
            provenance: what to record of the pair.
        """
        self.check_static()
        second.check_static()
        kept = self.kept_layers
        renamed = {_base_name(name, layers_path, kept): t for name, t in second.tensors.items()}
        after = second.kept_layers
        if kept is not None and after is not None:
            after = tuple(kept[i] for i in after)
        return replace(
            second,
            tensors={**self.tensors, **renamed},
            kept_layers=after if after is not None else kept,
            untied=self.untied or second.untied,
            config_edits={**self.config_edits, **second.config_edits},
            provenance=provenance,
        )


def _base_name(name: str, layers_path: str, kept: tuple[int, ...] | None) -> str:
    prefix = layers_path + "."
    if kept is None or not name.startswith(prefix):
        return name
    index, _, rest = name.removeprefix(prefix).partition(".")
    return f"{prefix}{kept[int(index)]}.{rest}"
