"""A results folder whose every number is known, with words that try to break pages."""

import dataclasses
import hashlib
import random

from evaluation.test_store import outcome, result

from harness.evaluation.asked import Asked, AskedStore
from harness.evaluation.cells import CellName
from harness.evaluation.store import Store

NASTY = "</script><img src=x onerror=alert(1)> & \"quotes\" 'single' \u2028 {{x}} \ud83d\ude00".encode(
    "utf-16", "surrogatepass"
).decode("utf-16")
N = 120


def fill(folder, variants=("base", "better", "worse", "same"), tasks=("words", "choice"), models=("m",)):
    """Cells of every variant on every task, with prompts."""
    store, draw = Store(folder), random.Random(3)
    shares = {"base": 0.5, "better": 0.8, "worse": 0.2}
    for task in tasks:
        prompts = [f"Question {i}: {NASTY}" for i in range(N)]
        hashes = [hashlib.sha256(p.encode()).hexdigest() for p in prompts]
        choices = [" yes", " no"] if task == "choice" else []
        asked = [Asked("t", i, hashes[i], prompts[i], "1" if choices else f"right {i}", choices) for i in range(N)]
        AskedStore(folder).add(task, asked)
        for model in models:
            for v in variants:
                rights = [float(draw.random() < shares.get(v, 0.5)) for i in range(N)]
                outcomes = [
                    dataclasses.replace(
                        outcome(i, rights[i]),
                        prompt_hash=hashes[i],
                        response=None if choices else [[f"{v} says {i} {NASTY}"]],
                        prediction=[[-1.0 - i, True], [-2.5, False]] if choices else [f"{i}"],
                        generated_tokens=0 if choices else 7,
                        cluster=f"group {i % 12}",
                    )
                    for i in range(N)
                ]
                made = dataclasses.replace(
                    result(CellName(model, v, task)), score=sum(rights) / N, n=N, seconds=3.0 + len(v), chance=0.1
                )
                store.put(made, outcomes)
    return folder
