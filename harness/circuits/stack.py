"""A model's layers one at a time: with attention live, with attention given, or only up to its queries, keys, values.

Axes: B rows, T positions of the prompts, S positions at work, H heads, G key-value heads, D head size, E hidden size,
V vocabulary. ``places`` says which positions S are: a slice of all of them, or one for each row, ``[B]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.anatomy import ARCHITECTURES
from harness.circuits.attention import Attends, circuit_attention
from harness.circuits.nodes import Head
from harness.forwards import input_device, replaced

Places = slice | Tensor
# BLOOM's attention adds the residual stream to its own output, and moves scores by ALiBi.
_REFUSED = {"bloom": "its attention adds the residual stream itself"}


class _SeenError(Exception):
    """Carries queries, keys and values out of a layer whose attention is not wanted."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor) -> None:
        self.qkv = q, k, v


@dataclass(frozen=True)
class Sizes:
    """Weights of one layer that a token is multiplied with: two operations each.

    Attributes:
        qkv: of the projections to queries, keys and values.
        out: of the output projection.
        mlp: of everything outside the attention.
    """

    qkv: int
    out: int
    mlp: int


class Stack:
    """Access to the layers of a Hugging Face model, wrapped by PEFT or not.

    Attributes:
        n_layers: layers.
        n_heads: query heads of a layer.
        n_kv: key-value heads of a layer.
        head_size: width of a head.
        sizes: weights of each layer.
        head_weights: weights of the output head.
        project_LHDE: what each head's output is multiplied with on its way to the residual stream, ``[L][H, D, E]``.

    Raises:
        ValueError: for an architecture that is not known or cannot be taken apart here, or a model in training mode.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        inner = getattr(model, "get_base_model", None)  # PEFT's
        unwrapped: PreTrainedModel = model if inner is None else inner()
        kind = unwrapped.config.model_type
        architecture = ARCHITECTURES.get(kind)
        if architecture is None or kind in _REFUSED or architecture.sees:
            usable = sorted(k for k, a in ARCHITECTURES.items() if k not in _REFUSED and not a.sees)
            why = f": {_REFUSED[kind]}" if kind in _REFUSED else ""
            raise ValueError(f"circuits of {kind} models cannot be looked at{why}; possible: {', '.join(usable)}")
        if unwrapped.training:
            raise ValueError("circuits are looked at without dropout: call model.eval() first")
        self.model = unwrapped
        config = unwrapped.config
        self._layers = list(unwrapped.get_submodule(architecture.layers).children())
        self._attention = [layer.get_submodule(architecture.attention) for layer in self._layers]
        outputs = [layer.get_submodule(architecture.parts["o_proj"][0]) for layer in self._layers]
        self._norm = unwrapped.get_submodule(architecture.outer_norms[-1])
        self.n_layers, self.n_heads = len(self._layers), int(config.num_attention_heads)
        self.n_kv = int(getattr(config, "num_key_value_heads", None) or self.n_heads)
        with torch.inference_mode():
            self.project_LHDE = [self._projection(module) for module in outputs]
        self.head_size = self.project_LHDE[0].shape[1]
        self.sizes = [self._sizes(*modules) for modules in zip(self._layers, self._attention, outputs, strict=True)]
        self.head_weights = sum(p.numel() for p in self._head.parameters() if p.ndim == 2)

    @property
    def device(self) -> torch.device:
        """Where token ids go in."""
        return input_device(self.model)

    @property
    def heads(self) -> tuple[Head, ...]:
        """Every head of the model, by layer."""
        return tuple(Head(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads))

    @property
    def _head(self) -> nn.Module:
        head = self.model.get_output_embeddings()
        assert head is not None
        return head

    def _projection(self, module: nn.Module) -> Tensor:
        """The output projection as a matrix, found by what it does: it may be wrapped."""
        weight = next(p for p in module.parameters() if p.ndim == 2)
        width = getattr(module, "in_features", None) or getattr(module, "nx", None)
        assert isinstance(width, int), f"{type(module).__name__} does not tell the width of its input"
        eye = torch.eye(width, dtype=weight.dtype, device=weight.device)[None]
        matrix = module(eye)[0] - module(torch.zeros_like(eye[:, :1]))[0]
        return matrix.view(self.n_heads, width // self.n_heads, -1)

    def _sizes(self, layer: nn.Module, attention: nn.Module, output: nn.Module) -> Sizes:
        whole, inside, out = (
            sum(p.numel() for p in module.parameters() if p.ndim == 2) for module in (layer, attention, output)
        )
        return Sizes(inside - out, out, whole - inside)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The layers can be called for the length of the block."""
        with torch.inference_mode(), circuit_attention(self.model):
            yield

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        """As `running`, with gradients."""
        with torch.enable_grad(), circuit_attention(self.model):
            yield

    def forward(self, inputs: Tensor, attends: Attends) -> tuple[list[Tensor], list[Mapping[str, Any]]]:
        """A whole forward, all positions.

        Args:
            inputs: token ids ``[B, T]``, or their embeddings ``[B, T, E]``.
            attends: computes the attention.

        Returns:
            The residual stream before each layer and behind the last one, ``[L + 1][B, T, E]``, and the keywords that
            each layer was called with.
        """
        streams: list[Tensor] = []
        calls: list[Mapping[str, Any]] = []

        def see(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            streams.append(args[0] if args else kwargs["hidden_states"])
            if module is not self._norm:
                calls.append({k: v for k, v in kwargs.items() if k not in ("hidden_states", "circuit")})

        handles = [m.register_forward_pre_hook(see, with_kwargs=True) for m in (*self._layers, self._norm)]
        try:
            positions = torch.arange(inputs.shape[1], device=inputs.device)[None]
            name = "input_ids" if inputs.ndim == 2 else "inputs_embeds"
            self.model.base_model(**{name: inputs}, position_ids=positions, use_cache=False, circuit=attends)
        finally:
            for handle in handles:
                handle.remove()
        assert len(streams) == self.n_layers + 1, f"{len(streams)} calls of {self.n_layers} layers and a norm"
        return streams, calls

    def live(self, layer: int, x_BSE: Tensor, places: Places, call: Mapping[str, Any], attends: Attends) -> Tensor:
        """The layer at some positions; the attention is computed by ``attends``."""
        return _first(self._layers[layer](x_BSE, **_at(call, places), circuit=attends))

    def replay(self, layer: int, x_BSE: Tensor, out_BSE: Tensor, call: Mapping[str, Any]) -> Tensor:
        """The layer with its attention's output given: norms and MLP alone are computed, position by position."""
        with replaced([self._attention[layer]], lambda *_, **__: (out_BSE, None)):
            return _first(self._layers[layer](x_BSE, **call))

    def qkv(self, layer: int, x_BSE: Tensor, places: Places, call: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values as they meet, ``[B, H, S, D]`` and twice ``[B, G, S, D]``."""

        def stop(_layer: int, q: Tensor, k: Tensor, v: Tensor, _scaling: float, _window: int | None) -> NoReturn:
            raise _SeenError(q, k, v)

        try:
            self.live(layer, x_BSE, places, call, stop)
        except _SeenError as seen:
            return seen.qkv
        raise AssertionError(f"layer {layer} called no attention")

    def logits(self, x_BE: Tensor) -> Tensor:
        """fp32 (or wider) logits of the residual stream behind the last layer, ``[B, V]``."""
        logits = self._head(self._norm(x_BE))
        return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits

    @contextmanager
    def seeing_attention(self, see: Callable[[int, Tensor], None]) -> Iterator[None]:
        """Calls ``see(layer, out_BTE)`` with each attention's output."""

        def hook(layer: int) -> Callable[..., None]:
            return lambda _module, _args, output: see(layer, _first(output))

        handles = [m.register_forward_hook(hook(i)) for i, m in enumerate(self._attention)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def _at(call: Mapping[str, Any], places: Places) -> dict[str, Any]:
    """A layer's keywords at some positions; they were recorded for all, ``[1, T, ...]``."""

    def pick(value: Tensor) -> Tensor:
        return value[:, places] if isinstance(places, slice) else value[0, places][:, None]

    out = dict(call)
    if (rotation := call.get("position_embeddings")) is not None:
        out["position_embeddings"] = tuple(pick(part) for part in rotation)
    if isinstance(positions := call.get("position_ids"), Tensor):
        out["position_ids"] = pick(positions)
    return out
