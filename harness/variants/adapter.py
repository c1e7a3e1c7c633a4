"""A trained adapter of PEFT as a variant: merged into the base, and kept as what it changed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from harness.config.variants import AdapterVariant
from harness.models import Base
from harness.patch import Change, Patch
from harness.variants.context import Context, provenance

_FILES = ("adapter_config.json", "adapter_model.safetensors")
_INCIDENTAL = ("base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping")


def build(base: Base, config: AdapterVariant, context: Context) -> Patch:
    """Merges an adapter into a copy of the base; the patch holds the tensors that differ afterwards.

    Raises:
        ValueError: if there is no adapter there, it does not fit the base, or it changes nothing.
    """
    folder = folder_of(config)
    tensors = merged(base, folder)
    if not tensors:
        raise ValueError(f"{folder} changes no tensor of {base.name}: an adapter that was never trained?")
    return Patch(tensors, provenance=provenance(base, config, changes_of(base, list(tensors))))


def merged(base: Base, folder: Path) -> dict[str, Tensor]:
    """The tensors of a base that an adapter changes, as it leaves them.

    Raises:
        ValueError: if it does not fit the base.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ValueError("adapters need peft: pip install variant-harness[train]") from error
    import harness.svf  # noqa: F401 - makes svf known to PEFT

    check_files(folder)
    try:
        adapted = PeftModel.from_pretrained(copy.deepcopy(base.model), str(folder))
        whole = adapted.merge_and_unload(safe_merge=True)
    except SafetensorError as error:
        raise ValueError(f"{folder / _FILES[1]} is damaged: {error}. Delete {folder} to make it again.") from error
    except (RuntimeError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{folder} holds no adapter that fits {base.name}: {error}") from error
    before = dict(base.model.named_parameters())
    after = dict(whole.named_parameters())
    if set(before) != set(after):
        odd = sorted(set(before) ^ set(after))
        raise ValueError(f"{folder}: merged, the model has other tensors than {base.name}: {', '.join(odd[:5])}")
    return {n: t.detach() for n, t in after.items() if not t.equal(before[n])}


def changes_of(base: Base, names: Iterable[str], source: str = "adapter") -> list[Change]:
    """What was changed, a line for each tensor; one that several parts share stands under the first."""
    sites = {site.name: site for site in reversed(base.anatomy.sites)}
    out = []
    for name in names:
        site = sites.get(name)
        part, layer = (site.part, site.layer) if site else ("other", None)
        out.append(Change(name, part, layer, base.model.get_parameter(name).numel(), source))
    return out


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A file of what was trained.

    Raises:
        ValueError: if it is missing or damaged.
    """
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder / name} cannot be read: {error}. Delete {folder} to make it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{folder / name} holds no keys and values. Delete {folder} to make it again.")
    return content


def digest_of(folder: Path) -> str:
    """SHA-256 of what an adapter computes: its config, without where its base lay, and its weights."""
    content = read_json(folder, _FILES[0])
    kept = {key: sorted(v) if isinstance(v, list) else v for key, v in content.items() if key not in _INCIDENTAL}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    digest.update((folder / _FILES[1]).read_bytes())
    return digest.hexdigest()


def folder_of(config: AdapterVariant) -> Path:
    """Where the adapter lies; one of the hub is fetched, its safetensors and its config alone.

    Raises:
        ValueError: if there is none.
    """
    if not config.path:
        raise ValueError("no adapter: set variant.path=FOLDER|HUB_ID")
    folder = Path(config.path).expanduser()
    if not folder.is_dir():
        if config.path.count("/") != 1 or config.path.startswith((".", "/", "~")):
            raise ValueError(f"{config.path} is no folder, and no hub id (owner/name)")
        from huggingface_hub import snapshot_download

        try:
            fetched = snapshot_download(config.path, revision=config.revision, allow_patterns=list(_FILES))
        except Exception as error:  # offline, gated, unknown: the hub has many errors, and each says what it is
            raise ValueError(f"adapter {config.path} could not be fetched: {error}") from error
        folder = Path(fetched)
    check_files(folder)
    return folder


def check_files(folder: Path) -> None:
    """Raises a ValueError if a folder holds no adapter."""
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise ValueError(
            f"{folder} holds no {' and no '.join(missing)}; weights are read as safetensors only "
            "(model.save_pretrained writes them)"
        )
    read_json(folder, _FILES[0])
