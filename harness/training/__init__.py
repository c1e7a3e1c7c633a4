"""Glue to TRL: texts in, trained tensors out."""

from harness.training.sft import Trained, fine_tune, trl_version
from harness.training.texts import Text, digest_of, read_texts

__all__ = ["Text", "Trained", "digest_of", "fine_tune", "read_texts", "trl_version"]
