"""The models that share a crosscoder: checkpoints of one training, or variants of one base.

All of them read the same token ids, so all must have the same tokenizer and as wide a residual stream. A member is
opened for the length of a block: a checkpoint that is not resident is loaded then, a variant's patch is swapped in.

Axes: B rows, T positions, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.anatomy import ARCHITECTURES
from harness.forwards import input_device, replaced
from harness.models import Base, tokenizer_digest
from harness.patch import Patch


@dataclass(frozen=True)
class Member:
    """One model of a line-up.

    Attributes:
        name: as in tables.
        load: gives the model; called again each time it is needed.
        patch: what makes it the variant; None for the model as it is.
    """

    name: str
    load: Callable[[], Base]
    patch: Patch | None = None


_LETTERS = 26


class _ReadError(Exception):
    """Leaves a forward once the layer that is read has been computed."""


class Lineup:
    """Some models and the layer at whose output they are read.

    Attributes:
        members: the models, in order.
        layer: index of the layer whose output is read.
        width: of the residual stream.
        n_layers: layers of each model.
        tokenizer: of all of them.
        identities: fingerprint of each model, with its patch's digest.

    Raises:
        ValueError: for models that cannot share a crosscoder, or a layer they do not have.
    """

    def __init__(self, members: Sequence[Member], layer: int | None = None) -> None:
        if len({m.name for m in members}) < len(members) or not members:
            raise ValueError(f"the models of a crosscoder need names of their own: {[m.name for m in members]}")
        self.members = tuple(members)
        self.identities: list[str] = []
        sizes: list[tuple[str, int, int]] = []
        for member in members:
            base = member.load()
            if member.patch is not None:
                _check_patch(member)
            digest = member.patch.digest if member.patch is not None and not member.patch.is_empty else ""
            self.identities.append(f"{base.fingerprint}+{digest}" if digest else base.fingerprint)
            sizes.append((tokenizer_digest(base.tokenizer), _width(base.model), base.anatomy.n_layers))
            if len(sizes) == 1:
                self.tokenizer: PreTrainedTokenizerBase = base.tokenizer
        for what, index in (("tokenizer", 0), ("width of the residual stream", 1), ("number of layers", 2)):
            for member, size in zip(members, sizes, strict=True):
                if size[index] != sizes[0][index]:
                    told = "" if index == 0 else f" ({size[index]}, not {sizes[0][index]})"
                    raise ValueError(f"{member.name} has another {what} than {members[0].name}{told}")
        self.width, self.n_layers = sizes[0][1:]
        self.layer = self.n_layers // 2 if layer is None else layer
        if not 0 <= self.layer < self.n_layers:
            raise ValueError(f"layer {self.layer}: the models have layers 0 to {self.n_layers - 1}")

    @property
    def letters(self) -> tuple[str, ...]:
        """A, B, C, ...: the members in tables and in names of classes."""
        return tuple(chr(ord("A") + m) if m < _LETTERS else f"M{m + 1}" for m in range(len(self.members)))

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names."""
        return tuple(m.name for m in self.members)

    @contextmanager
    def open(self, member: int) -> Iterator[Reader]:
        """One model, as the variant it is, for the length of the block."""
        chosen = self.members[member]
        base = chosen.load()
        if chosen.patch is None:
            yield Reader(base.model, self.layer)
        else:
            with chosen.patch.applied(base.model) as model:
                yield Reader(model, self.layer)


class Reader:
    """Reads and replaces what one layer of a model puts out."""

    def __init__(self, model: PreTrainedModel, layer: int) -> None:
        self.model, self._index = model, layer
        layers = model.get_submodule(ARCHITECTURES[model.config.model_type].layers)
        assert isinstance(layers, nn.ModuleList)
        self._layers = layers

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return input_device(self.model)

    def read(self, ids_BT: Tensor, attention_BT: Tensor | None = None) -> Tensor:
        """The layer's output, ``[B, T, D]``; nothing behind it is computed."""
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)
            raise _ReadError

        handle = self._layers[self._index].register_forward_hook(keep)
        try:
            with torch.no_grad():
                self.model.base_model(input_ids=ids_BT, attention_mask=attention_BT, use_cache=False)
        except _ReadError:
            return seen[0]
        finally:
            handle.remove()
        raise AssertionError(f"layer {self._index} was not called")

    def logits(self, ids_BT: Tensor, attention_BT: Tensor | None = None, at_B: Tensor | None = None) -> Tensor:
        """fp32 logits of the model as it is, ``[B, T, V]``; of one position of each row, ``[B, V]``, with ``at_B``."""
        hidden = self.model.base_model(input_ids=ids_BT, attention_mask=attention_BT, use_cache=False)[0]
        return self._head(hidden, at_B)

    def logits_from(
        self, x_BTD: Tensor, ids_BT: Tensor, attention_BT: Tensor | None = None, at_B: Tensor | None = None
    ) -> Tensor:
        """fp32 logits with another output of the layer; the layers up to it are not computed.

        Gradients flow to ``x_BTD`` where they are on.
        """

        def given(*_args: Any, **_kwargs: Any) -> Any:
            return (x_BTD,) if self._as_tuple else x_BTD

        # Of the layers before, what they return is thrown away: each hands on the same tensor.
        with replaced(self._layers[: self._index + 1], given):
            return self.logits(ids_BT, attention_BT, at_B)

    @property
    def _as_tuple(self) -> bool:
        return self.model.config.model_type in _TUPLES

    def _head(self, hidden_BTD: Tensor, at_B: Tensor | None) -> Tensor:
        if at_B is not None:
            hidden_BTD = hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), at_B]
        head = self.model.get_output_embeddings()
        assert head is not None
        return head(hidden_BTD).float()


# Architectures whose layers return a tuple.
_TUPLES = frozenset({"bloom"})


def _width(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().hidden_size)


def _check_patch(member: Member) -> None:
    assert member.patch is not None
    member.patch.check_static()
    if member.patch.kept_layers is not None:
        raise ValueError(f"{member.name} drops layers, so its layers cannot be set beside those of others")
