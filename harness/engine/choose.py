"""Which backend answers: the engine, or lm-eval's own where the engine cannot."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from harness.anatomy import ARCHITECTURES
from harness.engine.hf import ResidentLM
from harness.engine.plans import Plans
from harness.engine.sampling import Sampling
from harness.engine.settings import EngineSettings
from harness.engine.tree_lm import TreeLM
from harness.engine.vision import ResidentVisionLM
from harness.models import sees

logger = logging.getLogger(__name__)
ENGINES = ("tree", "hf")
# Rotary frequencies that change with the length of the whole text: keys computed for a short prefix
# are not those of a longer text.
_ROPES_BY_LENGTH = {"dynamic", "longrope"}
_ATTENTIONS = (None, "sdpa", "eager")


def why_not_tree(model: PreTrainedModel, attn_implementation: str | None = None) -> str | None:
    """Why the engine cannot compute this model, or None if it can.

    Args:
        model: the model.
        attn_implementation: the attention that was asked for; None for any.
    """
    config = model.config
    name = type(model).__name__
    if sees(config):
        return f"{name} reads images"
    if config.model_type not in ARCHITECTURES or not type(model).__module__.startswith("transformers."):
        return f"{name} is not one of the architectures it was tested on ({', '.join(sorted(ARCHITECTURES))})"
    if ropes := _rope_types(getattr(config, "rope_parameters", None) or {}) & _ROPES_BY_LENGTH:
        return f"{name} has {' and '.join(sorted(ropes))} rotary positions: keys depend on the length of the text"
    if attn_implementation not in _ATTENTIONS:
        return f"{name} was asked to attend by {attn_implementation}, and the engine has an attention of its own"
    return None


def _rope_types(parameters: Mapping[str, Any]) -> set[str]:
    """Types of the rotary positions, one or one a kind of layer."""
    inner = [value for value in parameters.values() if isinstance(value, Mapping)]
    own = {str(parameters["rope_type"])} if "rope_type" in parameters else set()
    return own.union(*(_rope_types(value) for value in inner))


def engine_of(model: PreTrainedModel, asked: str, attn_implementation: str | None = None) -> str:
    """The engine that will run: what was asked for, or ``hf`` where that cannot be, or ``hf-multimodal``."""
    if sees(model.config):
        return "hf-multimodal"
    return "hf" if asked == "tree" and why_not_tree(model, attn_implementation) else asked


def depends_on_batch(model: PreTrainedModel, engine: str, settings: Mapping[str, Any] | None) -> bool:
    """Whether texts depend on what shares their batch: where lm-eval's backend draws them.

    Args:
        model: the model.
        engine: the engine that will run.
        settings: generation settings of the task; None if it generates nothing.
    """
    if settings is None:
        return False
    sampling, _ = Sampling.of(model, settings)
    return sampling is None or (engine != "tree" and sampling.do_sample)


def chat_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, processor: ProcessorMixin | None
) -> Callable[..., str]:
    """Renders a chat as a prompt, as the backend of a model does."""
    lm = ResidentLM(model, tokenizer, 1) if processor is None else ResidentVisionLM(model, processor, 1)
    return lm.apply_chat_template


def open_engine(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: str,
    settings: EngineSettings,
    max_length: int | None = None,
    attn_implementation: str | None = None,
    plans: Plans | None = None,
    processor: ProcessorMixin | None = None,
) -> ResidentLM:
    """The backend under lm-eval for a resident model; the log says when it is not the one asked for.

    Args:
        model: the model, with its patch in.
        tokenizer: its tokenizer.
        asked: one of `ENGINES`.
        settings: batches and budgets.
        max_length: context in tokens; None for the model's own.
        attn_implementation: the attention that was asked for.
        plans: encoded requests of the same base, shared between variants.
        processor: makes inputs of texts and images, for a model that reads these.
    """
    assert asked in ENGINES, f"engine {asked!r}"
    if processor is not None:
        return ResidentVisionLM(model, processor, settings.batch_size, max_length)
    reason = why_not_tree(model, attn_implementation) if asked == "tree" else None
    if reason:
        logger.warning("engine=tree: %s; lm-eval's own backend (engine=hf) takes over", reason)
    if asked == "hf" or reason:
        return ResidentLM(model, tokenizer, settings.batch_size, max_length, settings.deadline)
    return TreeLM(model, tokenizer, settings, max_length, plans)
