"""Tiny random models of every architecture, and the folder of real data where there is one."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import pytest
import torch
from hypothesis import settings
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    OlmoConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

pytest_plugins = ["pytester"]
# Busy machines are slow; the time of an example says nothing here.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # sessions that tests start share the cores with other tests

VOCAB = 64
_LLAMA = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
# head_dim 16 is not hidden // heads = 8 where an architecture allows that.
CONFIGS = {
    "llama": LlamaConfig(**_LLAMA, head_dim=16),
    "mistral": MistralConfig(**_LLAMA, head_dim=16),
    "qwen2": Qwen2Config(**_LLAMA),
    "qwen3": Qwen3Config(**_LLAMA, head_dim=16),
    "gpt2": GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=64, **_IDS),
    "gpt_neox": GPTNeoXConfig(
        **{k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"}, tie_word_embeddings=False
    ),
    "olmo": OlmoConfig(**_LLAMA),
    "olmo2": Olmo2Config(**_LLAMA),
    "bloom": BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=3, n_head=4, **_IDS),
}
ARCHITECTURES = sorted(CONFIGS)


def tiny(architecture: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A tiny random model; biases and norms are random too, so that nothing is hidden by a zero or a one."""
    torch.manual_seed(seed)
    config = type(CONFIGS[architecture]).from_dict({**CONFIGS[architecture].to_dict(), **changes})
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def logits(model: PreTrainedModel, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        return model(torch.randint(2, VOCAB, (2, 12), generator=generator)).logits


@pytest.fixture
def data_root() -> Path:
    """The folder of real data; tests that need it are skipped where there is none."""
    named = os.environ.get("HARNESS_DATA")
    if not named:
        pytest.skip("HARNESS_DATA is not set")
    return Path(named)
