"""Other tensors in a model's place, for the length of a ``with`` block.

Only references are exchanged: a swap costs nothing, and restoring is exact because the very same
tensors come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.anatomy import ARCHITECTURES


@contextmanager
def swapped(
    model: PreTrainedModel,
    tensors: Mapping[str, Tensor],
    kept_layers: tuple[int, ...] | None,
    untied: bool,
    config_edits: Mapping[str, Any],
) -> Iterator[PreTrainedModel]:
    """The model with these tensors, layers and settings; see `harness.patch.Patch.applied`."""
    ties = _ties(model)
    check(model, tensors, kept_layers, untied, ties)
    undo: list[Callable[[], None]] = []
    try:
        if untied:
            _edit_config(model, {"tie_word_embeddings": False}, undo)
            _forget_ties(model, undo)
        for name, tensor in tensors.items():
            # One Parameter for all names of a tie, so that a tied model stays tied.
            parameter = nn.Parameter(tensor.to(_device(model, name)), requires_grad=False)
            for alias in {name} if untied else ties.get(name, {name}):
                _replace(model, alias, parameter, undo)
        _edit_config(model, config_edits, undo)
        if kept_layers is not None:
            _keep_layers(model, kept_layers, undo)
        yield model
    finally:
        for step in reversed(undo):
            step()


def check(
    model: PreTrainedModel,
    tensors: Mapping[str, Tensor],
    kept_layers: tuple[int, ...] | None,
    untied: bool,
    ties: Mapping[str, set[str]],
) -> None:
    """Raises one ValueError that names everything about the tensors that does not fit."""
    own = dict(model.named_parameters(remove_duplicate=False))
    wrong: list[str] = []
    for name, tensor in sorted(tensors.items()):
        if name not in own:
            expected = _addable_bias(model, name)
            if expected is None:
                wrong.append(f"{name}: the model has no such tensor")
            elif tuple(tensor.shape) != expected:
                wrong.append(f"{name}: shape {tuple(tensor.shape)}, a bias here has {expected}")
            continue
        target = own[name]
        if tensor.shape != target.shape:
            wrong.append(f"{name}: shape {tuple(tensor.shape)}, the model has {tuple(target.shape)}")
        if tensor.dtype != target.dtype:
            wrong.append(f"{name}: dtype {tensor.dtype}, the model has {target.dtype}")
        aliases = sorted((ties.get(name, set()) & set(tensors)) - {name})
        for alias in aliases if not untied else ():
            if tensors[alias] is not tensor and not tensors[alias].equal(tensor):
                wrong.append(f"{name}: tied to {alias}, which gets other values; untie them first")
    if kept_layers is not None:
        count = len(_layer_list(model))
        if not kept_layers or any(not 0 <= i < count for i in kept_layers):
            wrong.append(f"kept layers {kept_layers}: the model has layers 0 to {count - 1}, and one must stay")
    if wrong:
        raise ValueError("the patch does not fit the model:\n  " + "\n  ".join(wrong))


def _ties(model: nn.Module) -> dict[str, set[str]]:
    """For each name of a shared parameter, all names of it."""
    by_id: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        by_id.setdefault(id(parameter), set()).add(name)
    return {name: names for names in by_id.values() if len(names) > 1 for name in names}


def _addable_bias(model: nn.Module, name: str) -> tuple[int, ...] | None:
    """The shape of a bias that a linear module lacks, or None if there is no such place."""
    path, _, leaf = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return None
    if leaf != "bias" or not isinstance(module, nn.Linear) or module.bias is not None:
        return None
    return (module.out_features,)


def _replace(model: nn.Module, name: str, parameter: nn.Parameter, undo: list[Callable[[], None]]) -> None:
    path, _, leaf = name.rpartition(".")
    slots = model.get_submodule(path)._parameters
    old = slots[leaf]
    undo.append(lambda: slots.__setitem__(leaf, old))
    slots[leaf] = parameter


def _device(model: nn.Module, name: str) -> torch.device:
    """Where a tensor lies, or for an added bias the weight beside it: one model may lie on several devices."""
    path, _, leaf = name.rpartition(".")
    slots = model.get_submodule(path)._parameters
    there = slots.get(leaf)
    there = slots["weight"] if there is None else there
    assert there is not None
    return there.device


def _set(target: Any, attribute: str, value: Any, undo: list[Callable[[], None]]) -> None:
    old = getattr(target, attribute)
    undo.append(lambda: setattr(target, attribute, old))
    setattr(target, attribute, value)


def _edit_config(model: PreTrainedModel, edits: Mapping[str, Any], undo: list[Callable[[], None]]) -> None:
    for key, value in edits.items():
        if not hasattr(model.config, key):
            raise ValueError(f"config of {model.config.model_type} has no {key!r} to edit")
        _set(model.config, key, value, undo)


def _forget_ties(model: PreTrainedModel, undo: list[Callable[[], None]]) -> None:
    """Without this, `save_pretrained` would drop the head and `tie_weights` would tie it again."""
    _set(model, "all_tied_weights_keys", {}, undo)


def _layer_list(model: PreTrainedModel) -> nn.ModuleList:
    layers = model.get_submodule(ARCHITECTURES[model.config.model_type].layers)
    assert isinstance(layers, nn.ModuleList)
    return layers


def _keep_layers(model: PreTrainedModel, kept: tuple[int, ...], undo: list[Callable[[], None]]) -> None:
    """Drops layers; caches index by ``layer_idx`` and read the config, so both must follow."""
    path, _, leaf = ARCHITECTURES[model.config.model_type].layers.rpartition(".")
    layers = _layer_list(model)
    for new, old in enumerate(kept):
        for module in layers[old].modules():
            if hasattr(module, "layer_idx"):
                _set(module, "layer_idx", new, undo)
    config = model.config.get_text_config()
    types = getattr(config, "layer_types", None)
    _set(model.get_submodule(path), leaf, nn.ModuleList([layers[i] for i in kept]), undo)
    _set(config, "num_hidden_layers", len(kept), undo)
    if types is not None:
        _set(model.config, "layer_types", [types[i] for i in kept], undo)
