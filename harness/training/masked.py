"""Training of single elements of parameters, with state for those alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class MaskedAdamW(torch.optim.AdamW):
    """AdamW over chosen elements: what is not chosen has no state, no decay, and stays bit by bit.

    The chosen elements of each parameter are gathered into a vector, torch's own AdamW steps those vectors, and they
    are written back; between steps the vectors hold nothing, so what is kept is two numbers for each chosen element
    and one byte for each element. Clear the gradients of the rest with `only_active` where their norm matters.

    Args:
        parameters: name -> parameter.
        masks: name -> which of its elements are trained; a parameter without any is left out.
        settings: of AdamW.

    Raises:
        ValueError: if a mask is of another shape, or nothing is chosen.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor], **settings: Any) -> None:
        self._owners: list[nn.Parameter] = []
        self._masks: list[Tensor] = []
        vectors: list[nn.Parameter] = []
        for name, parameter in parameters.items():
            if (mask := masks[name]).shape != parameter.shape:
                raise ValueError(f"{name}: a mask of shape {list(mask.shape)} for {list(parameter.shape)} elements")
            if bool(mask.any()):
                self._owners.append(parameter)
                self._masks.append(mask.to(parameter.device))
                vectors.append(nn.Parameter(parameter.detach().new_empty(0)))
        if not vectors:
            raise ValueError("no element is chosen, so there is nothing to train")
        super().__init__(vectors, **settings)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of the chosen elements."""
        vectors = [p for group in self.param_groups for p in group["params"]]
        for vector, owner, mask in zip(vectors, self._owners, self._masks, strict=True):
            vector.data = owner.detach()[mask]
            vector.grad = None if owner.grad is None else owner.grad[mask]
        loss: float | None = super().step(closure)
        for vector, owner, mask in zip(vectors, self._owners, self._masks, strict=True):
            owner.data.masked_scatter_(mask, vector)
            vector.grad = None
            vector.data = vector.new_empty(0)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the parameters themselves."""
        super().zero_grad(set_to_none)
        for owner in self._owners:
            owner.grad = None

    def state_bytes(self) -> int:
        """Bytes that are held between steps: the state, and the masks."""
        held = [*self._masks, *(t for s in self.state.values() for t in s.values())]
        return sum(t.numel() * t.element_size() for t in held)


@contextmanager
def only_active(parameters: Mapping[str, nn.Parameter], masks: Mapping[str, Tensor]) -> Iterator[None]:
    """Elements that are not chosen have no gradient meanwhile, and are asserted to be the same afterwards.

    Raises:
        RuntimeError: if one of them changed.
    """
    before = {name: p.detach().clone() for name, p in parameters.items()}
    hooks = []
    for name, parameter in parameters.items():
        mask = masks[name].to(parameter.device)

        def clear(p: Tensor, mask: Tensor = mask) -> None:
            if p.grad is not None:
                p.grad.masked_fill_(~mask, 0.0)

        hooks.append(parameter.register_post_accumulate_grad_hook(clear))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for name, parameter in parameters.items():
        still = ~masks[name].to(parameter.device)
        if not torch.equal(parameter.detach()[still], before[name][still]):
            raise RuntimeError(f"training changed elements of {name} that are not active")
