"""Loading a base model, and knowing it by its weights."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from harness.anatomy import ARCHITECTURES, Anatomy

# Keys of a config that say where a model came from, not what it computes.
_INCIDENTAL = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}


@dataclass(frozen=True)
class ModelRef:
    """Where a model lies and how to load it.

    Attributes:
        name: the name shown in tables.
        path: a folder or a hub id.
        revision: hub revision; None for the default branch.
        dtype: ``float32``, ``bfloat16``, ``float16`` or ``auto`` (as stored).
        device: torch device.
        attn_implementation: as in transformers; None for its default.
        trust_remote_code: run modelling code that comes with the weights.
        device_map: as in transformers, to share one model out among devices; None puts it on ``device``.
    """

    name: str
    path: str
    revision: str | None = None
    dtype: str = "float32"
    device: str = "cpu"
    attn_implementation: str | None = None
    trust_remote_code: bool = False
    device_map: str | None = None


@dataclass(frozen=True)
class Base:
    """A resident base model; patches go in and out of ``model``.

    Attributes:
        processor: makes inputs of texts and images, for a model that reads these; its tokenizer is ``tokenizer``.
    """

    ref: ModelRef
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    fingerprint: str = field(repr=False)
    processor: ProcessorMixin | None = None

    @property
    def name(self) -> str:
        """The model's name in tables."""
        return self.ref.name


def load_base(ref: ModelRef) -> Base:
    """Loads model and tokenizer and fingerprints the weights.

    Raises:
        ValueError: if the weights are missing, broken or not safetensors.
    """
    model = load_model(ref)
    settings = {"revision": ref.revision, "trust_remote_code": ref.trust_remote_code}
    processor = None
    if sees(model.config):
        processor = AutoProcessor.from_pretrained(ref.path, **settings)
        tokenizer = processor.tokenizer
    else:
        tokenizer = AutoTokenizer.from_pretrained(ref.path, **settings)
    return Base(ref, model, tokenizer, Anatomy.of(model), fingerprint(model), processor)


def load_model(ref: ModelRef) -> PreTrainedModel:
    """Loads a causal language model, or one that reads images too, from safetensors, in eval mode, on its device.

    Raises:
        ValueError: if the weights are missing, broken or not safetensors.
    """
    folder = Path(ref.path)
    if folder.exists():
        check_folder(folder)
    try:
        model = _kind_of(ref).from_pretrained(
            ref.path,
            revision=ref.revision,
            dtype=ref.dtype,
            attn_implementation=ref.attn_implementation,
            trust_remote_code=ref.trust_remote_code,
            use_safetensors=True,
            device_map=ref.device_map,
        )
    except SafetensorError as error:
        raise ValueError(f"model {ref.name}: a safetensors file under {ref.path} cannot be read: {error}") from error
    except OSError as error:
        raise ValueError(f"model {ref.name}: cannot load {ref.path!r} (a folder or a hub id): {error}") from error
    if ref.device_map is None:
        model.to(torch.device(ref.device))  # type: ignore[arg-type] # transformers wraps the method without its type
    elif away := [name for name, p in model.named_parameters() if p.is_meta]:
        raise ValueError(
            f"model {ref.name}: device_map={ref.device_map} left {len(away)} tensors ({away[0]}, ...) outside "
            "the devices' memory, where no patch can reach them; take more devices or a smaller dtype"
        )
    return model.eval()


def _kind_of(ref: ModelRef) -> type[AutoModelForCausalLM] | type[AutoModelForImageTextToText]:
    """The class that loads a model, by its config."""
    config = AutoConfig.from_pretrained(ref.path, revision=ref.revision, trust_remote_code=ref.trust_remote_code)
    return AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM


def sees(config: PretrainedConfig) -> bool:
    """A model of this config reads images."""
    architecture = ARCHITECTURES.get(config.model_type)
    return architecture is not None and architecture.sees


def processor_digest(processor: ProcessorMixin | None) -> str | None:
    """SHA-256 of how images become inputs; None where there are none."""
    if processor is None:
        return None
    settings = {k: v for k, v in processor.to_dict().items() if k not in ("_name_or_path", "processor_class")}
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def check_folder(folder: Path) -> None:
    """Checks a local model folder before anything is loaded from it.

    Raises:
        ValueError: if it has no config, no safetensors weights, or a truncated weight file.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: no config.json, so this is not a model folder")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = sorted(p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        found = (
            f"found only pickle weights ({', '.join(others)}), which can run code when read" if others else "found none"
        )
        raise ValueError(
            f"{folder}: weights are read from *.safetensors only; {found}. "
            "Convert them once with `save_pretrained` in a place you trust."
        )
    for file in files:
        _check_safetensors(file)


def _check_safetensors(file: Path) -> None:
    """Compares a file's length with what its header announces."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        head = handle.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        raw = handle.read(length) if 8 + length <= size else b""
    if not raw:
        raise ValueError(f"{file}: not a whole safetensors file ({size} bytes, the header alone would be {length})")
    try:
        header = json.loads(raw)
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ValueError(f"{file}: not a safetensors header: {type(error).__name__}: {error}") from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ValueError(f"{file}: {size} bytes, but its header announces {expected}: the file is truncated or damaged")


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of how text becomes tokens: vocabulary, rules, special tokens, chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    parts = [rules, str(tokenizer.special_tokens_map), str(tokenizer.chat_template)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The tensor's bytes in row-major order, on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def hash_tensors(tensors: Iterable[tuple[str, Tensor]], digest: Any) -> None:
    """Feeds names, dtypes, shapes and bytes to a hashlib object, in order of name."""
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor_bytes(tensor))


def computing_settings(config: PretrainedConfig) -> dict[str, Any]:
    """The settings of a config that say what the model computes, not where it came from."""
    return {k: v for k, v in config.to_dict().items() if k not in _INCIDENTAL}


def fingerprint(model: PreTrainedModel, dtype: torch.dtype | None = None) -> str:
    """SHA-256 of what the model computes with: weights, config and generation settings, not its path.

    Args:
        model: the model.
        dtype: what the model would be in this dtype; None takes it as it is. Weights that are stored in a narrow dtype
            are the same in a wider one.
    """
    digest = hashlib.sha256()
    generation = model.generation_config.to_diff_dict() if model.generation_config else {}
    generation.pop("transformers_version", None)
    settings = [computing_settings(model.config), generation]
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    hash_tensors(((n, p if dtype is None else p.detach().to(dtype)) for n, p in model.named_parameters()), digest)
    return digest.hexdigest()
