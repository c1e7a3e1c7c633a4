"""A model under singular-value fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.svf.config import SvfConfig
from harness.svf.factors import Factors
from harness.svf.layer import SvfLayer


class SvfModel(BaseTuner):
    """PEFT's tuner of the method ``svf``."""

    prefix = "svf_"
    tuner_layer_cls = SvfLayer
    target_module_mapping: Mapping[str, list[str]] = {}

    def _create_and_replace(
        self,
        config: SvfConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        if isinstance(target, SvfLayer):
            target.update_layer(adapter_name, config)
            return
        inner = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
        if not isinstance(inner, (nn.Linear, Conv1D)):
            raise ValueError(f"{current_key} is a {type(inner).__name__}; SVF works on Linear and Conv1D")
        layer = SvfLayer(target, adapter_name, config, self._factors(config))
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)

    def _factors(self, config: SvfConfig) -> Factors:
        """One collection for all adapters: two that adapt one weight share its factor."""
        known = self.__dict__.setdefault("_svf_factors", {})
        key = (config.factors, config.method)
        if key not in known:
            known[key] = Factors(Path(config.factors) if config.factors else None, config.method)  # type: ignore[arg-type]
        return known[key]

    def layers(self) -> dict[str, SvfLayer]:
        """Every adapted layer by the name of its module."""
        return {name: m for name, m in self.model.named_modules() if isinstance(m, SvfLayer)}

    def z(self, adapter: str) -> dict[str, torch.Tensor]:
        """What multiplies the singular values under an adapter, for each module that it adapts."""
        return {name: m.z_of(adapter).detach().clone() for name, m in self.layers().items() if adapter in m.svf_z}

    def set_z(self, adapter: str, z: Mapping[str, torch.Tensor]) -> None:
        """Gives a plain adapter other values.

        Raises:
            ValueError: for a module that it does not adapt, or one of the conserving form.
        """
        layers = self.layers()
        for name, values in z.items():
            if name not in layers or layers[name].svf_form.get(adapter) != "plain":
                raise ValueError(f"adapter {adapter} has no plain z of {name}")
            layers[name].svf_z[adapter].data.copy_(values)

    @contextmanager
    def rows(self, adapters: Sequence[str | Mapping[str, float]]) -> Iterator[None]:
        """Runs each row of a batch under a z of its own: an adapter, or a mixture of several.

        Args:
            adapters: for each row an adapter's name (``__base__`` for none), or names with the weights by which their
                z are mixed: sum_k alpha_k z_k.

        Raises:
            ValueError: for an adapter that is not there.
        """
        layers = list(self.layers().values())
        known = {name for layer in layers for name in layer.svf_z}
        wanted = {name for row in adapters for name in ([row] if isinstance(row, str) else row)} - {"__base__"}
        if unknown := sorted(wanted - known):
            raise ValueError(f"no adapter {', '.join(unknown)}; there are {', '.join(sorted(known))}")
        try:
            for layer in layers:
                layer.rows_BR = torch.stack([_row(layer, row) for row in adapters])
            yield
        finally:
            for layer in layers:
                layer.rows_BR = None


def _row(layer: SvfLayer, row: str | Mapping[str, float]) -> torch.Tensor:
    """Z of one row in one layer; a layer that an adapter does not touch is the base's under it."""
    ones = torch.ones_like(layer.svf_s)
    parts = {row: 1.0} if isinstance(row, str) else row
    mixed = [weight * (layer.z_of(name) if name in layer.svf_z else ones) for name, weight in parts.items()]
    return torch.stack([m.to(ones.dtype) for m in mixed]).sum(0)
