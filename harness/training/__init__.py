"""Glue to TRL: texts in, trained tensors out."""

from harness.training.sft import Trained, fine_tune, trl_version
from harness.training.texts import Text, read_texts

__all__ = ["Text", "Trained", "fine_tune", "read_texts", "trl_version"]
