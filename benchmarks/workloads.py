"""Models and requests that the engine and its peer are measured on."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.config.compose import compose_model, compose_task
from harness.config.schema import TaskConfig
from harness.data import DataSource
from harness.sandbox import Limits, open_sandbox
from harness.tasks.load import load_task

RANDOM = "random-llama-20m"
SEED = 1234
SUBJECTS = ("abstract_algebra", "anatomy", "astronomy", "business_ethics")
PARADIGMS = ("distractor_agreement_relational_noun", "regular_plural_subject_verb_agreement_1")


@dataclass(frozen=True)
class Workload:
    """A task, and how much of it.

    Attributes:
        task: name of a task in ``conf/task``.
        lab: what stands in for it on the lab's models.
        settings: what replaces the task's own settings.
        limit: documents (a subject, for MMLU); None for all.
        about: one line for the table.
    """

    task: str
    lab: str
    settings: dict[str, Any]
    limit: int | None
    about: str


SAMPLED = {"do_sample": True, "temperature": 0.7}
WORKLOADS = {
    "mmlu_5shot": Workload(
        "mmlu",
        "lab_mmlu",
        {"num_fewshot": 5, "lm_eval": [f"mmlu_{s}" for s in SUBJECTS], "groups": {}},
        None,
        "MMLU, 5 shots, all documents of four subjects",
    ),
    "arc_challenge_25shot": Workload("arc_challenge", "lab_arc", {"num_fewshot": 25}, 32, "ARC-Challenge, 25 shots"),
    "arc_easy_0shot": Workload("arc_easy", "lab_arc", {}, 300, "ARC-Easy, no shots"),
    "blimp": Workload("blimp", "ioi", {}, 150, "BLiMP pairs, two paradigms (lab: IOI pairs)"),
    "gsm8k_5shot": Workload("gsm8k", "lab_gsm8k", {}, 48, "GSM8K, 5 shots drawn for each document"),
    "humaneval": Workload("humaneval", "lab_humaneval", {}, 32, "HumanEval, greedy"),
    "self_consistency_8": Workload(
        "gsm8k_cot", "lab_gsm8k", {"repeats": 8, "generation": SAMPLED}, 8, "GSM8K, 8 fixed shots, 8 samples each"
    ),
}


def load_model(
    name: str, tokenizers: Path | None, dtype: torch.dtype
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model by name or folder, in eval mode on the CPU, or on a GPU if there is one."""
    if name == RANDOM:
        assert tokenizers is not None
        model, tokenizer = _random_llama(), _gpt2_tokenizer(tokenizers)
    else:
        path = compose_model(name)[1].path
        model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device=device, dtype=dtype).eval(), tokenizer


def _random_llama() -> PreTrainedModel:
    """20.2 M seeded random weights, 64% of a token's matrix products in the head: GPT-2's vocabulary is wide."""
    torch.manual_seed(SEED)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50257,
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=10,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            bos_token_id=50256,
            eos_token_id=50256,
        )
    )


def _gpt2_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    with tempfile.TemporaryDirectory() as temporary:
        for name, source in (("vocab.json", "gpt2_vocab.json.gz"), ("merges.txt", "gpt2_merges.txt.gz")):
            (Path(temporary) / name).write_bytes(gzip.decompress((folder / source).read_bytes()))
        return GPT2Tokenizer(vocab=f"{temporary}/vocab.json", merges=f"{temporary}/merges.txt")


def requests_of(workload: Workload, lab: bool, data: Path | None, limit: int | None) -> list[Instance]:
    """The requests as lm-eval would hand them to its backend, samples of a document one by one."""
    wanted = limit if limit is not None else workload.limit
    sandbox = open_sandbox("process", Limits(), trusted=True)
    if workload.task == "blimp" and not lab:
        config = TaskConfig(lm_eval=[f"blimp_{p}" for p in PARADIGMS], folder="blimp", metric="acc,none")
        name = "blimp"
    else:
        name = workload.lab if lab else workload.task
        settings = {k: v for k, v in workload.settings.items() if not lab or k in ("repeats", "generation")}
        config = replace(compose_task(name, {})[0], **settings)
    source = DataSource("hub", None) if data is None else DataSource("mirror", data)
    loaded = load_task(name, config, source, sandbox)
    loaded.reseed(SEED)
    out: list[Instance] = []
    for task in loaded.subtasks.values():
        task.build_all_requests(limit=wanted)
        for request in task.instances:
            out += [request] * (request.repeats or 1)
    return out
