"""The model card of the lab models, from their training record and their scores.

pytest suites --model lab-base,lab-reasoner,lab-base-step150,... --results DIR
python -m harness.lab.card DIR
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from harness.config.paths import LAB_WEIGHTS
from harness.lab import datasets

DIGESTS = LAB_WEIGHTS / "SHA256SUMS"


def digests(folder: Path = LAB_WEIGHTS) -> dict[str, str]:
    """SHA-256 of every weight and tokenizer file, by path below the folder."""
    files = sorted([*folder.glob("*/*.safetensors"), *folder.glob("*/tokenizer.json")])
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _curve(points: list[dict[str, Any]], every: int) -> list[str]:
    sources = list(points[-1]["loss"])
    lines = [f"| step | tokens | {' | '.join(sources)} |", f"| ---: | ---: | {' | '.join(['---:'] * len(sources))} |"]
    for point in [p for i, p in enumerate(points) if i % every == every - 1 or p is points[-1]]:
        losses = " | ".join(f"{point['loss'][s]:.3f}" for s in sources)
        lines.append(f"| {point['step']:,} | {point['tokens']:,} | {losses} |")
    return lines


def scores(table: dict[str, Any]) -> list[str]:
    """Scores of the base variants in a ``table.json``, models as rows in order of training."""
    cells = {(c["model"], c["task"]): c for c in table["cells"] if c["variant"] == "base"}

    def steps(model: str) -> tuple[float, str]:
        _, _, number = model.partition("-step")
        return (float(number) if number else float("inf")), model

    tasks = list(table["tasks"])
    lines = [f"| model | {' | '.join(tasks)} |", f"| --- | {' | '.join(['---:'] * len(tasks))} |"]
    for model in sorted({m for m, _ in cells}, key=steps):
        row = [cells[model, t] for t in tasks]
        texts = [f"{100 * c['score']:.1f} [{100 * c['score_low']:.1f}, {100 * c['score_high']:.1f}]" for c in row]
        lines.append(f"| `{model}` | {' | '.join(texts)} |")
    chance = " | ".join(f"{100 * next(c['chance'] for (_, t), c in cells.items() if t == task):.0f}" for task in tasks)
    return [*lines, f"| chance | {chance} |"]


def card(record: dict[str, Any], table: dict[str, Any]) -> str:
    """The card as Markdown.

    Args:
        record: ``training.json`` of the recipe.
        table: ``table.json`` of a results folder with the models' scores.
    """
    base, late, reasoner = (record["recipes"][n] for n in ("lab-base", "lab-base-late", "lab-reasoner"))
    steps = [*base["checkpoints"], *(late["start"] + c for c in late["checkpoints"])]
    size = sum(f.stat().st_size for f in LAB_WEIGHTS.glob("*/*.safetensors"))
    counts = [f"| {n} | {len(datasets.rows(n, 'train'))} | {len(datasets.rows(n, 'test'))} |" for n in datasets.names()]
    runs = [record["curves"][name][-1] for name in ("lab-base", "lab-base-late")]
    tokens, minutes = (sum(run[key] for run in runs) for key in ("tokens", "seconds"))
    lines = [
        "# Model card: the lab models",
        "",
        f"Qwen2 architecture (grouped-query attention, q/k/v biases, tied embeddings), {record['parameters']:,}",
        f"parameters, context 192, bf16 safetensors, {size / 1e6:.1f} MB in all. Own byte-level tokenizer, one token a",
        "digit. Generated text only: no personal data, no text of others. Licence as the project (Apache-2.0).",
        "",
        "- `lab-base`: pretrained on the mixture of `harness/lab/corpus.py`. Three problems in ten are worked, the",
        "  others answered at once: its reasoning is latent.",
        f"- `lab-base-step*`: checkpoints of that run, after {', '.join(map(str, steps))} steps;",
        f"  `lab-base` is step {base['steps'] + late['steps']}.",
        "- `lab-reasoner`: `lab-base` trained on lightly with worked problems (the donor of the merges).",
        "",
        "They are instruments for this project's methods, not models for use: they know nothing outside their world.",
        "",
        "## Recipe",
        "",
        f"`python -m harness.lab.train --out DIR`, torch {record['torch']}, CPU, AdamW. lab-base:",
        f"{base['steps']:,} steps of the base mixture (peak rate {base['learning_rate']:g}), then",
        f"{late['steps']:,} of the late one (peak rate {late['learning_rate']:g}), {base['rows']} rows x",
        f"{base['row_tokens']} tokens a step, {tokens:,} tokens in {minutes / 60:.0f} minutes. lab-reasoner:",
        f"{reasoner['steps']:,} steps at {reasoner['learning_rate']:g}. Seeds {base['seed']}, {late['seed']},",
        f"{reasoner['seed']}. Another machine rounds otherwise: a rebuild gives",
        "models of the same kind, not the same bytes. `SHA256SUMS` holds the committed ones.",
        "",
        "## Scores",
        "",
        "Percent with 95% intervals, measured by this package on its own tests.",
        "",
        *scores(table),
        "",
        "## Data",
        "",
        "Tests and training text never share a document (`tests/lab/test_world.py`). Rows of each data set:",
        "",
        "| data set | train | test |",
        "| --- | ---: | ---: |",
        *counts,
        "",
        "## Curve of lab-base",
        "",
        "Mean loss of the completions (nats a token) since the point before, by source; first stage, then second.",
        "",
        *_curve(record["curves"]["lab-base"], 3),
        "",
        *_curve(record["curves"]["lab-base-late"], 5),
        "",
        "## Curve of lab-reasoner",
        "",
        *_curve(record["curves"]["lab-reasoner"], 1),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Writes ``README.md`` and ``SHA256SUMS`` beside the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="DIR", help="results folder with the models' scores")
    table = json.loads((parser.parse_args().results / "table.json").read_text())
    record = json.loads((LAB_WEIGHTS / "training.json").read_text())
    (LAB_WEIGHTS / "README.md").write_text(card(record, table))
    DIGESTS.write_text("".join(f"{digest}  {name}\n" for name, digest in digests().items()))


if __name__ == "__main__":
    main()
