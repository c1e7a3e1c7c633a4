"""A tiny random model that reads images, and a mirror with generated pictures."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from harness.config.compose import compose_model, compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid

HF_TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def processor():
    tokenizer = AutoTokenizer.from_pretrained(compose_model("lab-base")[1].path)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.pad_token = tokenizer.eos_token
    images = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
    )


def config(tokenizer, text=LlamaConfig):
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=32,
    )
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return LlavaConfig(
        vision_config=vision,
        text_config=text(vocab_size=len(tokenizer), **HF_TEXT, **ids),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
    )


def make(root: Path) -> Path:
    """The model, and a mirror with a few documents of each task."""
    made = processor()
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config(made.tokenizer))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(root / "model")
    made.save_pretrained(root / "model")
    rng = np.random.default_rng(0)
    for path in ("textvqa/train", "textvqa/validation", "OK-VQA/val2014"):
        name, split = path.split("/")
        place = root / "mirror" / "lmms-lab" / name / "default"
        place.mkdir(parents=True, exist_ok=True)
        pictures = [Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)) for _ in range(12)]
        questions = [f"What stands on sign {i} of {split}?" for i in range(12)]
        answers = [["stop"] * 7 + ["go"] * 3] * 12
        rows = datasets.Dataset.from_dict({"image": pictures, "question": questions, "answers": answers})
        rows.to_parquet(place / f"{split}.parquet")
    return root


def bench(folder, out, *overrides):
    where = [f"model={folder / 'model'}", "data=mirror", f"data.root={folder / 'mirror'}", f"results.dir='{out}'"]
    return Bench(plan_grid(compose_run([*where, "runtime.device=cpu", "tasks=[textvqa,okvqa]", *overrides])))
