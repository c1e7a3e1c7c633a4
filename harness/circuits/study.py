"""Circuits of several tasks by several methods, side by side on one page.

python -m harness.circuits.study model=lab-base [tasks=[ioi,induction]] [methods=[path_patching,app]] [KEY=VALUE ...]

Keys, beside those of a circuit (below): model (name, folder or hub id), tasks, methods, references (task -> a known
circuit's name or a file), out (a folder), device, dtype, controls (look at minimality and completeness).
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock

from harness.circuits.cost import Cost
from harness.circuits.effects import NoEffectError
from harness.circuits.figure import draw_curves, write_figures
from harness.circuits.finding import Finder, Finding, find_reference
from harness.circuits.published import published_lines
from harness.circuits.settings import check_settings
from harness.circuits.tables import LABELS, cost_table, head_lists, prompts_line, saving_line, spaced, task_table
from harness.circuits.tasks import TASKS
from harness.config.circuits import CIRCUIT_METHODS, CircuitConfig, circuit_settings
from harness.config.published_circuits import PublishedCircuits
from harness.config.typed import typed_overrides
from harness.figures import save_figures
from harness.files import write_text
from harness.loading import load
from harness.models import Base

logger = logging.getLogger(__name__)
PAGE, SECTION = "circuits.md", "section.md"


@dataclass
class StudyConfig(CircuitConfig):
    """Several circuits.

    Attributes:
        model: name, folder or hub id.
        tasks: circuit tasks.
        methods: ways of finding a circuit.
        references: task -> circuit to compare with: a name of the library, or a file.
        out: folder of the page; circuits lie below it.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the weights.
        controls: look at minimality and completeness.
        published: blocks of a paper's numbers that stand beside those of the model.
    """

    model: str = "lab-base"
    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    methods: list[str] = field(default_factory=lambda: list(CIRCUIT_METHODS))
    references: dict[str, str] = field(default_factory=dict)
    out: str = "results/circuits"
    device: str = "auto"
    dtype: str = "float32"
    controls: bool = True
    published: list[PublishedCircuits] = field(default_factory=list)


def study(config: StudyConfig, say: Callable[[str], None] = logger.info) -> Path:
    """Finds and verifies every circuit and writes page, circuits and figures.

    Args:
        config: settings.
        say: is told what was done, line by line.

    Returns:
        The page.

    Raises:
        ValueError: for settings that cannot be.
    """
    check(config)
    base = load(config.model, config.device, config.dtype)
    for task in config.tasks:
        say(f"{task}: {study_task(config, task, base)}")
    return Path(config.out) / PAGE


def study_task(config: StudyConfig, task: str, base: Base | None = None) -> str:
    """The circuits of one task: finds and verifies them, and writes the page anew with what there is so far.

    A model that does not do the task gets a line that says so.

    Args:
        config: settings.
        task: one of ``config.tasks``.
        base: the model; None loads it.

    Returns:
        What was done, in a line.

    Raises:
        ValueError: if the task's words do not fit the model, or its settings cannot be.
    """
    base = base or load(config.model, config.device, config.dtype)
    begin = time.perf_counter()
    folder = Path(config.out) / task
    reference = find_reference(config.references.get(task), task, (base.anatomy.n_layers, base.anatomy.n_heads))
    try:
        finder = Finder(base, task, circuit_settings(config), folder, reference)
        found = {method: finder.find(method, config.controls) for method in config.methods}
    except NoEffectError as error:
        write_text(
            folder / SECTION, spaced([[_mark(base, config), f"## {task}"], [f"No circuit was looked for: {error}."]])
        )
        done = f"no circuit: {error}"
    else:
        for method, finding in found.items():
            finder.file(finding).save(folder / method)
            write_figures(folder / method)
        _curves(found, folder)
        write_text(folder / SECTION, spaced([[_mark(base, config), f"## {task}"], *_section(finder, found, task)]))
        done = f"{len(found)} circuits found and verified in {time.perf_counter() - begin:.0f} s"
    return f"{done}, written: {_write_page(config, base)}"


def _write_page(config: StudyConfig, base: Base) -> Path:
    """The page of the tasks that are done; those that run elsewhere write it again."""
    folder = Path(config.out)
    with FileLock(folder / ".page.lock"):
        return _assemble(config, base, folder)


def _assemble(config: StudyConfig, base: Base, folder: Path) -> Path:
    sections = [(folder / task / SECTION) for task in config.tasks]
    texts = [path.read_text(encoding="utf-8").rstrip().splitlines() for path in sections if path.is_file()]
    ours = [lines[1:] for lines in texts if lines[0] == _mark(base, config)]  # others are of an older run
    published = [
        published_lines(block, folder, base.fingerprint if block.model == base.name else None, circuit_settings(config))
        for block in config.published
    ]
    write_text(folder / PAGE, spaced([_head(base, config), *ours, *published]))
    return folder / PAGE


def _mark(base: Base, config: StudyConfig) -> str:
    """First line of a section: whose it is, and by which settings."""
    settings = {**asdict(circuit_settings(config)), "methods": config.methods, "references": config.references}
    digest = hashlib.sha256(json.dumps([settings, config.controls], sort_keys=True).encode()).hexdigest()
    return f"<!-- {base.fingerprint} {digest[:16]} -->"


def check(config: StudyConfig) -> None:
    """Checks names before anything is loaded.

    Raises:
        ValueError: for an unknown task or method, or a reference of a task that is not looked at.
    """
    for kind, given, known in (("task", config.tasks, TASKS), ("method", config.methods, CIRCUIT_METHODS)):
        if strange := [name for name in given if name not in known]:
            raise ValueError(f"unknown circuit {kind} {strange[0]!r}; known: {', '.join(known)}")
        if not given:
            raise ValueError(f"no circuit {kind}s; known: {', '.join(known)}")
    check_settings(config, config.methods)
    if strange := sorted(set(config.references) - set(config.tasks)):
        raise ValueError(f"references.{strange[0]}: that task is not among {', '.join(config.tasks)}")
    if config.prompts.file is not None:
        raise ValueError(
            "prompts.file is for one circuit: python -m harness.circuits.discover task=NAME prompts.file=..."
        )


def _head(base: Base, config: StudyConfig) -> list[str]:
    anatomy, threshold = base.anatomy, config.threshold
    return [
        f"# Circuits of {base.name}",
        "",
        f"{anatomy.n_layers} layers of {anatomy.n_heads} heads ({anatomy.n_kv_heads} key-value heads) of size "
        f"{anatomy.head_size}; weights `{base.fingerprint[:12]}`, {config.dtype}.",
        f"Path patching: rule {threshold.rule}, k {threshold.k:g} ({threshold.k_logits:g} to the logits), least "
        f"{threshold.least:g}. Chosen by sparsity: the smallest that keeps {100 * config.performance:g}% with at most "
        f"{100 * config.largest:g}% of the heads, else",
        "the knee of the Pareto front, or its best performer if it has none.",
        "Faithful: what the circuit keeps of the model's metric above the floor (no head left), with its 95% interval",
        "over prompts; p: share of random circuits (any heads; as many in each layer) at least as faithful; raw: the",
        "circuit over the model, the paper's performance; idle: heads without which nothing resolved is lost;",
        "incomplete: largest difference between circuit and model when the same heads are taken out of both. Costs",
        "are each method's own; CPR and CMD: areas under the faithfulness of a ranking's best heads (high is good) and",
        "between it and 1 (low is good). More than 100% is no better: heads that work against the answer are missing.",
    ]


def _section(finder: Finder, found: Mapping[str, Finding], task: str) -> list[list[str]]:
    against = finder.reference.source if finder.reference is not None else "nothing: no reference circuit"
    patched = found.get("path_patching")
    if finder.reference is None and patched is not None:
        against = "path patching's circuit, as in the paper: no circuit of this model is known"
        found = {name: finder.beside(finding, patched) for name, finding in found.items()}
    blocks = [
        [prompts_line(finder.sets, finder.methods.metric, finder.config.ablation)],
        task_table(found, against),
        cost_table(found),
        head_lists(found),
    ]
    if patched is not None and "app" in found:
        app = found["app"].found
        alone = Cost.of_record(app.details["path_patching_cost"])
        blocks.append([saving_line(patched.found.cost, app.cost, alone)])
    blocks.append([f"![performance over sparsity]({task}/curves.png)"])
    for name in ("app", "path_patching"):
        if name in found and found[name].found.heads:
            blocks.append([f"![{LABELS[name]}'s circuit]({task}/{name}/circuit.png)"])
            break
    return blocks


def _curves(found: Mapping[str, Finding], folder: Path) -> None:
    """The task's curves in one figure, with the circuits that have none as points."""
    curves = {m: f.found.details["curve"] for m, f in found.items() if "curve" in f.found.details}
    points = {m: found[m].found.details["cliffs"] for m in curves}
    single = {m: (f.verified.sparsity, f.verified.faithfulness.value) for m, f in found.items() if m not in curves}
    save_figures(folder, {"curves": lambda: draw_curves(curves, points, single, LABELS)})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        print(f"{__doc__}\n{CircuitConfig.__doc__}")
        return 0
    try:
        page = study(typed_overrides(StudyConfig, given), print)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
