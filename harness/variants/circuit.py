"""A circuit of heads as a model: the heads outside it put out nothing, or what they do on average."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from harness.circuits.artifact import CircuitFile
from harness.circuits.bake import bake
from harness.circuits.finding import Finder
from harness.circuits.nodes import heads_text, parse_heads
from harness.circuits.settings import check_settings
from harness.circuits.tasks import TASKS
from harness.config.circuits import CircuitConfig
from harness.config.variants import CircuitVariant
from harness.models import Base, fingerprint
from harness.patch import Patch
from harness.variants.context import Context, provenance

logger = logging.getLogger(__name__)
FILLS = ("mean", "zero")


def build(base: Base, config: CircuitVariant, context: Context) -> Patch:
    """Builds the patch; a circuit that is not given is found first, and kept.

    Raises:
        ValueError: for settings that do not go together, a circuit of another model, or a model that does not do
            the task.
    """
    if config.fill not in FILLS:
        raise ValueError(f"circuit: unknown fill {config.fill!r}; known: {', '.join(FILLS)}")
    if config.path is not None and config.heads is not None:
        raise ValueError("circuit: give path or heads, not both")
    if config.heads is not None and config.fill != "zero":
        raise ValueError("circuit: heads alone have no means; set variant.fill=zero, or give a circuit by its path")
    _check(config)
    found = _circuit(base, config, context)
    shape = base.anatomy.n_layers, base.anatomy.n_heads
    if found.shape != shape:
        raise ValueError(
            f"circuit: of {found.shape[0]} x {found.shape[1]} heads, {base.name} has {shape[0]} x {shape[1]}"
        )
    if strange := [h for h in found.heads if h.layer >= shape[0] or h.head >= shape[1]]:
        raise ValueError(f"circuit: head {strange[0]}; {base.name} has {shape[0]} layers of {shape[1]} heads")
    if not found.heads and config.heads is None:
        raise ValueError(
            f"circuit: no head was found on {found.record.get('task', config.task)} by {found.record.get('method')}; "
            "lower find.threshold.least or take find.threshold.rule=absolute (variant.heads='' ablates every head)"
        )
    if not config.any_model and not _is_of(found, base):
        known = found.record.get("model", {})
        name, dtype, own = known.get("name", "another model"), known.get("dtype", "float32"), str(base.model.dtype)[6:]
        narrow = f"if only the dtype differs take runtime.dtype={dtype} (it is {own} here); " if dtype != own else ""
        raise ValueError(
            f"circuit: it was found in {name}, with other weights than {base.name}; {narrow}variant.any_model=true "
            "uses its heads and means all the same"
        )
    means = found.whole if config.fill == "mean" else None
    if config.fill == "mean" and means is None:
        raise ValueError("circuit: it was found with an ablation without means; set variant.fill=zero")
    baked = bake(base.model, base.anatomy, found.heads, means)
    made = provenance(base, config, list(baked.changes), seeds={"circuit": config.find.seed})
    measured = {**baked.sizes, "heads": heads_text(found.heads), "cost": found.record.get("cost")}
    return Patch(baked.tensors, config_edits=baked.config_edits, provenance=replace(made, measured=measured))


def _check(config: CircuitVariant) -> None:
    """Raises a ValueError for settings that cannot be, or that nothing would come of."""
    if config.path is not None or config.heads is not None:
        # Seeds are the run's, and may be any.
        find = replace(config.find, seed=0, prompts=replace(config.find.prompts, seed=0))
        if config.task != "ioi" or find != CircuitConfig():
            given = "path" if config.path is not None else "heads"
            raise ValueError(f"circuit: {given} says which heads stay; leave out task and find, that would find others")
        return
    if config.task not in TASKS and config.find.prompts.file is None:
        raise ValueError(f"unknown circuit task {config.task!r}; known: {', '.join(TASKS)}, or find.prompts.file=FILE")
    check_settings(config.find)


def _is_of(found: CircuitFile, base: Base) -> bool:
    """The circuit was found in these weights, in their dtype or in a wider one that holds the same numbers."""
    if found.fingerprint == base.fingerprint:
        return True
    return base.model.dtype != torch.float32 and found.fingerprint == fingerprint(base.model, torch.float32)


def _circuit(base: Base, config: CircuitVariant, context: Context) -> CircuitFile:
    shape = base.anatomy.n_layers, base.anatomy.n_heads
    if config.heads is not None:
        return CircuitFile(parse_heads(config.heads), shape, base.fingerprint)
    if config.path is not None:
        return CircuitFile.load(Path(config.path))
    if str(base.model.dtype) != "torch.float32":
        logger.warning("a circuit is looked for in %s, which drowns small effects; float32 is better", base.model.dtype)

    key: dict[str, Any] = {
        "base": base.fingerprint,
        "dtype": str(base.model.dtype),
        "task": config.task,
        "find": asdict(config.find),
    }
    if config.find.prompts.file is not None and (file := Path(config.find.prompts.file)).is_file():
        key["prompts"] = hashlib.sha256(file.read_bytes()).hexdigest()

    def make(folder: Path) -> None:
        # Beside what is kept, so that a search that is killed goes on; nobody else makes the same meanwhile.
        assert context.patches is not None
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        search = context.patches / f".search-{digest[:20]}"
        finder = Finder(base, config.task, config.find, search)
        finding = finder.find(config.find.method)
        finder.file(finding).save(folder)
        shutil.rmtree(search, ignore_errors=True)

    return CircuitFile.load(context.folder_once("circuit", key, make))
