"""The config of the SVF method of PEFT."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from peft import PeftConfig

FORMS = ("plain", "conserving")


@dataclass
class SvfConfig(PeftConfig):
    """Singular-value fine-tuning: one vector z a weight, W' = U diag(S z) Vᵀ.

    Args:
        target_modules: names of modules (by their ends), or a regular expression of whole names.
        exclude_modules: modules that are left alone though they match, in the same forms.
        layers_to_transform: numbers of layers; None for all.
        layers_pattern: name of the list of layers, where it cannot be guessed.
        modules_to_save: modules that are trained whole, beside.
        form: ``plain`` multiplies by z; ``conserving`` is that of the paper's released code: z is
            sigmoid(p) · ΣS / Σ(S sigmoid(p)), which keeps the sum of the singular values.
        init: z at the start (``plain``), or p (``conserving``).
        init_std: standard deviation of a normal draw around it, which torch's seed decides.
        method: how factors are computed: ``auto``, ``eigh`` or ``svd``.
        factors: folder in which factors are kept between runs; None keeps none.
    """

    target_modules: Any = None
    exclude_modules: Any = None
    layers_to_transform: Any = None
    layers_pattern: Any = None
    modules_to_save: Any = None
    form: str = "plain"
    init: float = 1.0
    init_std: float = 0.0
    method: str = "auto"
    factors: str | None = field(default=None)

    def __post_init__(self) -> None:
        from harness.svf.register import SVF

        super().__post_init__()
        self.peft_type = SVF
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        if isinstance(self.exclude_modules, list):
            self.exclude_modules = set(self.exclude_modules)
        if self.form not in FORMS:
            raise ValueError(f"form {self.form!r}: expected {' or '.join(FORMS)}")
        if self.method not in ("auto", "eigh", "svd"):
            raise ValueError(f"method {self.method!r}: expected auto, eigh or svd")
        if self.layers_pattern is not None and self.layers_to_transform is None:
            raise ValueError("layers_pattern goes with layers_to_transform, which is not given")
        if self.layers_to_transform is not None and isinstance(self.target_modules, str):
            raise ValueError(
                "layers_to_transform goes with a list of target_modules: a regular expression says it itself"
            )
