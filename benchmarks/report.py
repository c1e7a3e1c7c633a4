"""How long the HTML report takes: 12 variants x 8 tasks x 1,000 documents, made up, with prompts and answers.

    python benchmarks/report.py [--json FILE]

Beside it, in the same run, what the same store takes to be read line by line with json alone: the least that any report
must do. The ratio is what may be compared between machines.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from harness.evaluation.asked import Asked, AskedStore
from harness.evaluation.cells import CellName, CellResult, Outcome
from harness.evaluation.store import Store
from harness.report import build_table
from harness.report.html import write_report
from harness.report.html.source import Source

VARIANTS, TASKS, DOCUMENTS = 12, 8, 1_000


def fill(folder: Path) -> None:
    """Cells whose prompts have 200 words and whose answers have 60."""
    rng, store = random.Random(0), Store(folder)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(3_000)]
    for t in range(TASKS):
        prompts = [" ".join(rng.choices(words, k=200)) for _ in range(DOCUMENTS)]
        hashes = [hashlib.sha256(p.encode()).hexdigest() for p in prompts]
        asked = [Asked("t", i, hashes[i], prompts[i], "yes") for i in range(DOCUMENTS)]
        AskedStore(folder).add(f"t{t}", asked)
        base = [rng.random() < 0.6 for _ in range(DOCUMENTS)]
        for v in range(VARIANTS):
            rights = [b if v == 0 or rng.random() < 0.9 else rng.random() < 0.5 for b in base]
            outcomes = [
                Outcome("t", i, f"d{i}", hashes[i], "none", [" ".join(rng.choices(words, k=3))],
                        [[" ".join(rng.choices(words, k=60))]], {"acc": float(right)}, f"g{i % 20}", 60)
                for i, right in enumerate(rights)
            ]  # fmt: skip
            name = CellName("m", "base" if v == 0 else f"variant{v}", f"t{t}")
            store.put(_result(name, sum(rights) / DOCUMENTS), outcomes)


def _result(name: CellName, score: float) -> CellResult:
    identity = {"model": "m" * 64, "patch": name.variant, "shots": {"t": 0}, "data": "d" * 64, "versions": {}}
    identity |= dict.fromkeys(
        ("dtype", "seed", "limit", "max_length", "chat_template", "backend", "sandbox", "deadline")
    )
    patch = {"method": "base", "touched": 0, "trained": 0, "total": 1, "config": {}, "donors": {}, "seeds": {}}
    counts = dict.fromkeys(("prompt_tokens", "generated_tokens", "clipped_prompts", "clipped_budgets"), 1)
    settings = {"batch_size": 1, "device": "cpu", "position": 0, "command": ""}
    return CellResult(
        name=name, digest=name.variant, identity=identity, metric="acc", filter="none", chance=0.25, score=score,
        n=DOCUMENTS, scores={"acc,none": score}, groups={}, counts=counts, seconds=10.0,
        finished="2026-01-01T00:00:00+00:00", patch=patch, settings=settings,
    )  # fmt: skip


def main() -> None:
    """Measures and prints; writes the figures where ``--json`` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        fill(folder)
        started = time.perf_counter()
        lines = [json.loads(x) for p in sorted(folder.glob("cells/*/*/*.jsonl")) for x in p.read_text().splitlines()]
        read = time.perf_counter() - started
        started = time.perf_counter()
        store = Store(folder, keep=True)
        page = write_report(Source(build_table(folder, store=store), store), folder / "report")
        took = time.perf_counter() - started
        size = sum(p.stat().st_size for p in page.parent.rglob("*") if p.is_file())
    found = {
        "variants": VARIANTS, "tasks": TASKS, "documents": DOCUMENTS, "outcomes": len(lines), "seconds": round(took, 2),
        "seconds to read": round(read, 2), "ratio": round(took / read, 1), "megabytes": round(size / 1e6, 1),
        "python": sys.version.split()[0],
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
