"""One weight under singular-value fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from harness.svf.config import SvfConfig
from harness.svf.factors import Factor, Factors, change, scaled


class SvfLayer(nn.Module, BaseTunerLayer):
    """A linear layer whose singular values are multiplied by z.

    The base weight is not touched: for a tall weight the input is changed before it, for a wide one the output after it
    (`harness.svf.factors`). Several active adapters add their changes, as in PEFT's additive methods.

    Args:
        base_layer: ``nn.Linear`` or transformers' ``Conv1D``.
        adapter_name: the first adapter.
        config: its config.
        factors: where factors come from.
    """

    if TYPE_CHECKING:  # what torch and PEFT leave untyped
        svf_q: Tensor
        svf_s: Tensor
        active_adapters: list[str]
        disable_adapters: bool
        merged: bool
        base_layer: nn.Module
        set_adapter: Callable[..., None]
        get_base_layer: Callable[[], nn.Linear]
        _move_adapter_to_device_of_base_layer: Callable[[str], None]
        _cast_input_dtype: Callable[[Tensor, torch.dtype], Tensor]

    adapter_layer_names = ("svf_z",)
    other_param_names = ("svf_form",)

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: SvfConfig, factors: Factors) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.svf_z = nn.ParameterDict({})
        self.svf_form: dict[str, str] = {}
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self.cast_input_dtype_enabled = True
        self._unmerged: Tensor | None = None
        # Requests of one batch under different z: set by `SvfModel.rows`.
        self.rows_BR: Tensor | None = None
        weight = self._matrix()
        self.out_features, self.in_features = weight.shape
        found = factors.of(weight)
        self.tall = found.tall
        self.register_buffer("svf_q", found.q_RR.to(weight.dtype), persistent=False)
        self.register_buffer("svf_s", found.s_R, persistent=False)
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, config)

    def update_layer(self, adapter_name: str, config: SvfConfig, inference_mode: bool = False, **_: Any) -> None:
        """Adds an adapter: z (or p, in the conserving form) in fp32 or better."""
        kind = torch.promote_types(self.svf_q.dtype, torch.float32)
        values = torch.full((len(self.svf_s),), float(config.init), dtype=kind)
        if config.init_std:
            values += config.init_std * torch.randn(len(values), dtype=kind)
        self.svf_z[adapter_name] = nn.Parameter(values)
        self.svf_form[adapter_name] = config.form
        self._move_adapter_to_device_of_base_layer(adapter_name)
        # PEFT moves it to the base's dtype: in bf16 a step of 0.002 is lost at 1.
        self.svf_z[adapter_name].data = self.svf_z[adapter_name].data.to(kind)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def z_of(self, adapter_name: str) -> Tensor:
        """What multiplies the singular values under one adapter: [R]."""
        values = self.svf_z[adapter_name]
        if self.svf_form[adapter_name] == "plain":
            return values
        kept_R = torch.sigmoid(values)
        s_R = self.svf_s.to(values.dtype)
        return kept_R * (s_R.sum() / (s_R * kept_R).sum())

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output under the active adapters, or under `rows_BR`."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return self.base_layer(x, *args, **kwargs)
        if self.merged:
            return self.base_layer(x, *args, **kwargs)
        by = self._change(x)
        if by is None:
            return self.base_layer(x, *args, **kwargs)
        q = self.svf_q
        if self.tall:
            inner = self._cast_input_dtype(x, q.dtype)
            moved = F.linear(F.linear(inner, q.T) * by.to(q.dtype), q)
            return self.base_layer((inner + moved).to(x.dtype), *args, **kwargs)
        out = self.base_layer(x, *args, **kwargs)
        bias = getattr(self.get_base_layer(), "bias", None)
        plain = out if bias is None else out - bias
        return out + F.linear(F.linear(plain, q.T) * by.to(q.dtype), q).to(out.dtype)

    def _change(self, x: Tensor) -> Tensor | None:
        """Z - 1, broadcastable against the inner coordinates of x; None where nothing changes."""
        if self.rows_BR is not None:
            if self.rows_BR.shape[0] != x.shape[0]:
                raise ValueError(f"z for {self.rows_BR.shape[0]} rows, and a batch of {x.shape[0]}")
            between = [1] * (x.ndim - 2)
            return (self.rows_BR - 1).view(x.shape[0], *between, -1)
        active = [name for name in self.active_adapters if name in self.svf_z]
        return sum((self.z_of(name) - 1 for name in active[1:]), self.z_of(active[0]) - 1) if active else None

    def get_delta_weight(self, adapter_name: str) -> Tensor:
        """W' - W in the shape of the stored weight."""
        moved = change(self._matrix(), self._factor(), self.z_of(adapter_name))
        return self._as_stored(moved).to(self.get_base_layer().weight.dtype)

    def supports_lora_conversion(self, adapter_name: str = "default") -> bool:
        """W' - W is a matrix like any other."""
        return True

    def merge(self, safe_merge: bool = False, adapter_names: Sequence[str] | None = None) -> None:
        """Writes W' in the place of W; W is kept until it is unmerged."""
        names = [n for n in check_adapters_to_merge(self, adapter_names) or [] if n in self.svf_z]
        if not names:
            return
        layer, before = self.get_base_layer(), self.get_base_layer().weight.data
        original = self._unmerged if self._unmerged is not None else before
        z = 1 + sum(self.z_of(n).detach() - 1 for n in [*self.merged_adapters, *names])
        assert isinstance(z, Tensor)
        after = self._as_stored(scaled(self._as_matrix(original), self._factor(), z))
        if safe_merge and not torch.isfinite(after).all():
            raise ValueError(f"adapter {', '.join(names)}: the merged weight is not finite")
        self._unmerged = original
        layer.weight.data = after
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Puts the very same W back."""
        if self._unmerged is not None:
            self.get_base_layer().weight.data = self._unmerged
        self._unmerged = None
        self.merged_adapters.clear()

    def _factor(self) -> Factor:
        return Factor(self.svf_q, self.svf_s, self.tall)

    def _matrix(self) -> Tensor:
        """The base weight, output features first."""
        return self._as_matrix(self.get_base_layer().weight.data)

    def _as_matrix(self, stored: Tensor) -> Tensor:
        return stored.T if isinstance(self.get_base_layer(), Conv1D) else stored

    def _as_stored(self, weight_MN: Tensor) -> Tensor:
        return weight_MN.T.contiguous() if isinstance(self.get_base_layer(), Conv1D) else weight_MN

    def __repr__(self) -> str:
        return "svf." + super().__repr__()
