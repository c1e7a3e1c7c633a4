"""The engine against lm-eval's own Hugging Face backend, on the same requests.

Each engine runs in a process of its own, one after the other. Both are timed from requests to answers,
encoding included; building the requests and loading the model are not. Tokens are counted by a hook on
the model, padding included, so both are counted alike. Ratios are peer / ours: above 1 we need less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from tabulate import tabulate

from benchmarks.floor import Floor, matrix_rate
from benchmarks.workloads import RANDOM, WORKLOADS, load_model, requests_of
from harness.config.compose import compose_model
from harness.config.paths import LAB_WEIGHTS
from harness.engine import EngineSettings, ResidentLM, TreeLM
from harness.engine.tree import PrefixTree
from harness.files import write_text

# Both get the harness's own default. The peer scores faster in smaller batches on a CPU (less memory to
# fill with logits), so there it runs a second time at the best of these.
BATCH_SIZE = 32
SMALLER = (1, 2, 4, 8)


class Watched(TreeLM):
    """The engine, which remembers what it generated; for the floor."""

    def generate(self, texts: Any, sampling: Any, quiet: bool = False) -> list[list[int]]:
        """As the engine's own."""
        out = super().generate(texts, sampling, quiet)
        self.prompts = [text.prompt.tolist() for text in texts]
        self.lengths = [len(tokens) for tokens in out]
        return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures the workloads and prints a table."""
    asked = _parser().parse_args(arguments)
    if asked.worker:
        _work(asked)
        return
    rows = [_measure(name, asked) for name in asked.workloads.split(",")]
    print(f"\nmodel {asked.model}, {asked.dtype}, {asked.threads} threads, {machine()}")
    print(tabulate([_shown(row) for row in rows], headers="keys", tablefmt="github"))
    if asked.json:
        figures = {"machine": machine(), "arguments": _plain(asked), "rows": rows}
        write_text(asked.json, json.dumps(figures, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default=RANDOM, help=f"{RANDOM}, a model of conf/models, or a folder")
    parser.add_argument("--data", type=Path, help="mirror of the data sets; the lab's models need none")
    parser.add_argument("--tokenizers", type=Path, help="folder of GPT-2's tokenizer; default: beside the mirror")
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="names, with commas")
    parser.add_argument("--limit", type=int, help="documents a workload (a subject, for MMLU)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--refill", type=float, default=EngineSettings.refill, help="as runtime.refill")
    parser.add_argument("--batch-size", type=int, help=f"of both; default {BATCH_SIZE}, the harness's own")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    return parser


def _plain(asked: argparse.Namespace) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(asked).items()}


def _measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """One workload under both engines, and once more where an answer needs a witness."""
    if name not in WORKLOADS:
        raise SystemExit(f"no workload {name!r}; there are: {', '.join(WORKLOADS)}")
    ours, peer = _spawn("tree", name, asked), _spawn("hf", name, asked)
    # Sampled texts of two backends cannot agree; ours must agree with themselves in other batches.
    witness = _spawn("tree-small", name, asked) if ours["sampled"] else peer
    best = peer if ours["generated"] else _spawn("hf-best", name, asked)
    row = {
        "workload": name,
        "model": asked.model,
        "dtype": asked.dtype,
        "documents": ours["documents"],
        "wall_ratio": peer["seconds"] / ours["seconds"],
        "wall_ratio_best": min(peer["seconds"], best["seconds"]) / ours["seconds"],
        "best_batch_size": best["batch_size"] if best["seconds"] < peer["seconds"] else peer["batch_size"],
        "memory_ratio": peer["peak_mb"] / ours["peak_mb"],
        "tokens_peer": peer["tokens"],
        "tokens_ours": ours["tokens"],
        "tokens_distinct": ours["distinct"],
        "differing": _differing(ours, witness),
        "differing_from": "itself in other batches" if ours["sampled"] else "the peer",
        "largest_difference": None if ours["generated"] else _largest(ours, peer),
        "seconds_peer": peer["seconds"],
        "seconds_ours": ours["seconds"],
        "peak_mb_peer": peer["peak_mb"],
        "peak_mb_ours": ours["peak_mb"],
        "floor_seconds": ours["floor_flops"] / ours["rate"],
        "floor_share": ours["floor_flops"] / ours["rate"] / ours["seconds"],
        "gflops": ours["rate"] / 1e9,
    }
    if asked.dtype != "float32" and not ours["sampled"]:
        row["differing_peer_from_itself"] = _differing(peer, _spawn("hf-small", name, asked))
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def _spawn(worker: str, name: str, asked: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, "-m", "benchmarks.engine", "--worker", worker, "--out", str(out)]
        command += ["--model", asked.model, "--workloads", name, "--dtype", asked.dtype]
        command += ["--threads", str(asked.threads), "--refill", str(asked.refill)]
        for key in ("data", "tokenizers", "limit", "batch_size"):
            if (value := getattr(asked, key)) is not None:
                command += [f"--{key.replace('_', '-')}", str(value)]
        quiet = {**os.environ, "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, env=quiet, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return json.loads(out.read_text())


def _work(asked: argparse.Namespace) -> None:
    """One engine on one workload, in this process."""
    torch.set_num_threads(asked.threads)
    workload = WORKLOADS[asked.workloads]
    dtype = getattr(torch, asked.dtype)
    tokenizers = asked.tokenizers or (asked.data.parent / "tokenizers" if asked.data else None)
    model, tokenizer = load_model(asked.model, tokenizers, dtype)
    requests = requests_of(workload, _is_lab(asked.model), asked.data, asked.limit)
    generated = requests[0].request_type == "generate_until"
    rate = matrix_rate(dtype)
    lm = _engine(asked, model, tokenizer, requests)
    counted = [0]
    hook = model.base_model.register_forward_pre_hook(
        lambda module, args, kwargs: counted.__setitem__(0, counted[0] + kwargs["input_ids"].numel()), with_kwargs=True
    )
    # The first call of a process pays for pages and kernels, not for requests.
    warm = requests[:2]
    lm.generate_until(warm) if generated else lm.loglikelihood(warm)
    counted[0] = 0
    started = time.perf_counter()
    answers = lm.generate_until(requests) if generated else lm.loglikelihood(requests)
    seconds = time.perf_counter() - started
    peak = _peak_mb()
    hook.remove()
    result = {
        "seconds": seconds,
        "peak_mb": peak,
        "tokens": counted[0],
        "batch_size": lm.batch_size,
        "documents": len({(r.task_name, r.doc_id) for r in requests}),
        "generated": generated,
        "sampled": bool(workload.settings.get("generation", {}).get("do_sample")),
        "rate": rate,
        "answers": _by_document(requests, answers),
        **(_floor(lm, model, requests) if isinstance(lm, TreeLM) else {}),
    }
    Path(asked.out).write_text(json.dumps(result))


def _engine(asked: argparse.Namespace, model: Any, tokenizer: Any, requests: list[Instance]) -> ResidentLM:
    size = asked.batch_size or BATCH_SIZE
    generated = requests[0].request_type == "generate_until"
    if asked.worker.endswith("small"):
        size = max(1, size // 4)
    if asked.worker == "hf-best":
        size = min(SMALLER, key=lambda n: _trial(ResidentLM(model, tokenizer, n), requests))
    if asked.worker.startswith("hf"):
        return ResidentLM(model, tokenizer, size)
    if not generated:
        return TreeLM(model, tokenizer, EngineSettings())
    return Watched(model, tokenizer, EngineSettings(batch_size=size, refill=asked.refill))


def _trial(lm: ResidentLM, requests: list[Instance]) -> float:
    """Seconds for every so many documents, all their choices, warmed up by one of them."""
    step = max(1, len({(r.task_name, r.doc_id) for r in requests}) // 8)
    part = [r for r in requests if r.doc_id % step == 0]
    lm.loglikelihood(part[:4], disable_tqdm=True)
    started = time.perf_counter()
    lm.loglikelihood(part, disable_tqdm=True)
    return time.perf_counter() - started


def _floor(lm: TreeLM, model: Any, requests: list[Instance]) -> dict[str, Any]:
    """FLOPs that no engine can do without, and the distinct tokens among what was computed."""
    floor = Floor(model)
    if requests[0].request_type != "generate_until":
        plan = lm.plan_of(requests)
        return {"floor_flops": floor.scoring(plan), "distinct": len(plan.tree)}
    assert isinstance(lm, Watched)
    flops = floor.generation(lm.prompts, lm.lengths)
    # The last token of a text is never fed back.
    distinct = len(PrefixTree.of(lm.prompts)) + sum(lm.lengths) - len(lm.lengths)
    return {"floor_flops": flops, "distinct": distinct}


def _by_document(requests: list[Instance], answers: list[Any]) -> list[list[Any]]:
    """Answers of each document, in the order of its requests."""
    out: dict[tuple[Any, Any], list[Any]] = defaultdict(list)
    for request, answer in zip(requests, answers, strict=True):
        out[request.task_name, request.doc_id].append(answer)
    return list(out.values())


def _differing(ours: dict[str, Any], other: dict[str, Any]) -> int:
    """Documents whose texts differ, or whose most likely choice does."""
    pairs = zip(ours["answers"], other["answers"], strict=True)
    if ours["generated"]:
        return sum(a != b for a, b in pairs)
    return sum(_best(a) != _best(b) for a, b in pairs)


def _best(choices: list[list[float]]) -> int:
    return max(range(len(choices)), key=lambda i: choices[i][0])


def _largest(ours: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference between two log-likelihoods of one request."""
    pairs = zip(ours["answers"], other["answers"], strict=True)
    return max(abs(x[0] - y[0]) for a, b in pairs for x, y in zip(a, b, strict=True))


def _is_lab(model: str) -> bool:
    return model != RANDOM and LAB_WEIGHTS.resolve() in Path(compose_model(model)[1].path).resolve().parents


def _peak_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> str:
    """Processor, GPU and torch, in a line."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((s.split(":")[1].strip() for s in lines if s.startswith("model name")), platform.processor())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cpu}, {gpu}, torch {torch.__version__}"


def _shown(row: dict[str, Any]) -> dict[str, str]:
    largest = row["largest_difference"]
    return {
        "workload": row["workload"],
        "documents": str(row["documents"]),
        "time, peer": f"{row['seconds_peer']:.1f} s",
        "ours": f"{row['seconds_ours']:.1f} s",
        "ratio": f"{row['wall_ratio']:.1f}",
        "at the peer's best batch size": f"{row['wall_ratio_best']:.1f} ({row['best_batch_size']})",
        "floor": f"{row['floor_seconds']:.1f} s",
        "of the floor's rate": f"{100 * row['floor_share']:.0f}%",
        "memory, peer": f"{row['peak_mb_peer']:.0f} MB",
        "ours ": f"{row['peak_mb_ours']:.0f} MB",
        "tokens, peer": f"{row['tokens_peer']:,}",
        " ours": f"{row['tokens_ours']:,}",
        "differing": f"{row['differing']} (from {row['differing_from']})",
        "largest difference": "" if largest is None else f"{largest:.1e}",
    }


if __name__ == "__main__":
    main()
