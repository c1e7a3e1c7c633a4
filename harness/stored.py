"""Reading a checkpoint's tensors piece by piece, without loading a model.

Files are read at offsets, never mapped: pages of a mapped file count as memory of the process, and a
comparison of two large checkpoints would seem (and under a limit, be) as large as both.
"""

from __future__ import annotations

import json
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from harness.anatomy import Anatomy
from harness.models import check_folder

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a safetensors file.

    Attributes:
        file: the file.
        kind: name of its dtype, as safetensors spells it.
        shape: its shape.
        offset: of its first byte in the file.
    """

    file: Path
    kind: str
    shape: tuple[int, ...]
    offset: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def rows(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Rows ``start`` to ``stop`` (along the first axis), as they are stored.

        Raises:
            ValueError: for a dtype that holds no floating-point numbers, or a file that ends early.
        """
        if self.kind not in DTYPES:
            raise ValueError(f"{self.file}: a tensor of dtype {self.kind}; read are {', '.join(DTYPES)}")
        dtype = DTYPES[self.kind]
        stop = self.shape[0] if stop is None else min(stop, self.shape[0])
        width = math.prod(self.shape[1:]) * dtype.itemsize
        raw = bytearray((stop - start) * width)
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.offset + start * width)
            view, got = memoryview(raw), 0
            while got < len(raw):
                n = file.readinto(view[got:])
                if not n:
                    raise ValueError(f"{self.file} ends early: it was changed while it was read")
                got += n
            # Both checkpoints are read once: what is read need not stay in the system's memory.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), self.offset + start * width, len(raw), os.POSIX_FADV_DONTNEED)
        return torch.frombuffer(raw, dtype=dtype).reshape(stop - start, *self.shape[1:])


@dataclass(frozen=True)
class StoredModel:
    """A checkpoint folder whose weights stay on the disk.

    Attributes:
        name: shown in tables and errors.
        folder: where it lies.
        config: its config.
        anatomy: its parts, found on a model without weights.
        tensors: every stored tensor, by its name in a loaded model.
    """

    name: str
    folder: Path
    config: PretrainedConfig
    anatomy: Anatomy
    tensors: dict[str, StoredTensor]

    def tensor(self, name: str) -> StoredTensor:
        """The stored tensor of a model's parameter.

        Raises:
            ValueError: if the checkpoint has none.
        """
        embed, head = self.anatomy.head_names
        for candidate in (name, embed) if name == head and self.anatomy.tied else (name,):
            if candidate in self.tensors:
                return self.tensors[candidate]
        raise ValueError(f"{self.name}: no tensor {name} in {self.folder}, which has {len(self.tensors)} others")


def open_stored(name: str, path: str, revision: str | None = None) -> StoredModel:
    """Opens a folder or a hub id (downloaded to the hub's cache, weights as safetensors only).

    Raises:
        ValueError: if it is missing, broken, or of an unknown architecture.
    """
    folder = Path(path)
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(path, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
        except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise ValueError(f"model {name}: cannot find {path!r} (a folder or a hub id): {error}") from error
    check_folder(folder)
    try:
        config = AutoConfig.from_pretrained(folder)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"model {name}: the config in {folder} cannot be used: {error}") from error
    stored = {name: tensor for file in _files(folder) for name, tensor in _header(file).items()}
    return StoredModel(name, folder, config, Anatomy.of(model), _renamed(stored, model))


def _renamed(stored: dict[str, StoredTensor], model: PreTrainedModel) -> dict[str, StoredTensor]:
    """Stored tensors by the names of a loaded model: checkpoints leave out prefixes or use older names."""
    renamings = [r for r in get_model_conversion_mapping(model) if isinstance(r, WeightRenaming)]
    known, prefix = model.state_dict(), model.base_model_prefix
    return {rename_source_key(name, renamings, [], prefix, known)[0]: tensor for name, tensor in stored.items()}


def _files(folder: Path) -> list[Path]:
    """The weight files that belong together; a folder may hold the same weights twice."""
    index = folder / INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"{index}: not an index of safetensors files: {type(error).__name__}: {error}") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder}: {len(missing)} of {len(names)} weight files are missing: {missing[0]}, ...")
        return [folder / name for name in names]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))


def _header(file: Path) -> dict[str, StoredTensor]:
    """Names and places of a file's tensors; the file has been checked."""
    with file.open("rb") as handle:
        (length,) = struct.unpack("<Q", handle.read(8))
        entries: dict[str, Any] = json.loads(handle.read(length))
    entries.pop("__metadata__", None)
    return {
        name: StoredTensor(file, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in entries.items()
    }
