"""The language-model backend under lm-eval: its numbers at a fraction of the work."""

from harness.engine.accounting import Accounting
from harness.engine.choose import ENGINES, engine_of, open_engine, why_not_tree
from harness.engine.hf import ResidentLM
from harness.engine.plans import Plans
from harness.engine.settings import EngineSettings
from harness.engine.tree_lm import TreeLM

__all__ = [
    "ENGINES",
    "Accounting",
    "EngineSettings",
    "Plans",
    "ResidentLM",
    "TreeLM",
    "engine_of",
    "open_engine",
    "why_not_tree",
]
