"""A variant is a patch: named tensors that replace tensors of a base model."""

from harness.patch.export import export
from harness.patch.patch import Change, Patch, Provenance
from harness.patch.routing import Examples, Query, Router, Routing, Scored, Stage

__all__ = ["Change", "Examples", "Patch", "Provenance", "Query", "Router", "Routing", "Scored", "Stage", "export"]
