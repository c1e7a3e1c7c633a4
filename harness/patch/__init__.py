"""A variant is a patch: named tensors that replace tensors of a base model."""

from harness.patch.export import export
from harness.patch.patch import Change, Patch, Provenance

__all__ = ["Change", "Patch", "Provenance", "export"]
