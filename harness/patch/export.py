"""A variant as a plain Hugging Face folder, which needs no code of ours to load."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from harness.models import Base
from harness.patch.patch import Patch


def export(base: Base, patch: Patch, folder: Path) -> None:
    """Writes model, tokenizer and ``variant.json`` (provenance and digest) to a new folder.

    The folder loads with `AutoModelForCausalLM`, lm-eval and vLLM. It appears whole or not at all.

    Raises:
        ValueError: if the folder exists and is not empty, or the patch does not fit, or the
            architecture's config cannot express an added bias, or the variant adapts to what it is asked.
    """
    patch.check_static()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists and is not empty; export writes a new folder")
    own = {name for name, _ in base.model.named_parameters(remove_duplicate=False)}
    added = sorted(set(patch.tensors) - own)
    if added and not patch.config_edits:
        raise ValueError(
            f"{added[0]}: {base.anatomy.architecture.model_type} loads no such tensor, and no "
            "setting of its config adds one, so this variant cannot be a folder (a circuit can with variant.fill=zero)"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        work = Path(name) / "model"
        with patch.applied(base.model) as model:
            model.save_pretrained(work)
        base.tokenizer.save_pretrained(work)
        record = {
            "base": base.name,
            "fingerprint": base.fingerprint,
            "digest": patch.digest,
            "provenance": asdict(patch.provenance),
        }
        (work / "variant.json").write_text(json.dumps(record, indent=1) + "\n")
        if folder.exists():
            folder.rmdir()
        os.replace(work, folder)
