"""The language-model backend under lm-eval."""

from harness.engine.hf import Accounting, ResidentLM

__all__ = ["Accounting", "ResidentLM"]
