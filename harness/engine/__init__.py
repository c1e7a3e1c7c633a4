"""The language-model backend under lm-eval: its numbers at a fraction of the work."""

from harness.engine.accounting import Accounting
from harness.engine.asked import AskedModel, asked
from harness.engine.choose import ENGINES, chat_of, depends_on_batch, engine_of, open_engine, why_not_tree
from harness.engine.deadline import Deadline
from harness.engine.generation import TextRequest
from harness.engine.hf import ResidentLM
from harness.engine.plans import Plans
from harness.engine.routed import RoutedLM
from harness.engine.sampling import Sampling
from harness.engine.settings import EngineSettings
from harness.engine.tree_lm import TreeLM

__all__ = [
    "ENGINES",
    "Accounting",
    "AskedModel",
    "Deadline",
    "EngineSettings",
    "Plans",
    "ResidentLM",
    "RoutedLM",
    "Sampling",
    "TextRequest",
    "TreeLM",
    "asked",
    "chat_of",
    "depends_on_batch",
    "engine_of",
    "open_engine",
    "why_not_tree",
]
