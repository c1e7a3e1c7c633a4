"""From a task's config to lm-eval tasks that are ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import Kind
from lm_eval.tasks._yaml_loader import load_yaml

from harness import data
from harness.circuits.tasks import rows as circuits
from harness.config.schema import TaskConfig
from harness.data import DataSource
from harness.lab import datasets as lab
from harness.sandbox import Sandbox
from harness.tasks import lm_eval_utils
from harness.tasks.check import check_task
from harness.tasks.sourced import CodeTask, MathTask, SourcedTask

OWN = Path(__file__).parent / "yaml"
data.BUILTIN[lab.PATH] = lab.rows
data.BUILTIN[circuits.PATH] = circuits.rows


@dataclass(frozen=True)
class LoadedTask:
    """A task with its subtasks.

    Attributes:
        name: the task's name in tables.
        config: what it was made from.
        subtasks: lm-eval's name -> task; several for MMLU and MATH.
        groups: group -> names of its subtasks.
    """

    name: str
    config: TaskConfig
    subtasks: Mapping[str, SourcedTask]
    groups: Mapping[str, tuple[str, ...]]

    def reseed(self, seed: int) -> None:
        """Puts the few-shot draws back to their start: a task that is used again draws others otherwise."""
        for task in self.subtasks.values():
            task.set_fewshot_seed(seed)


def load_task(name: str, config: TaskConfig, source: DataSource, sandbox: Sandbox | None) -> LoadedTask:
    """Loads a task with its data.

    Args:
        name: the task's name in tables.
        config: what it is.
        source: where its data lie.
        sandbox: runs programs; None will do for tasks without code.

    Raises:
        ValueError: if lm-eval has no such task, data are missing, or settings do not go together.
    """
    check_task(name, config)
    folder = _folder(name, config.folder)
    manager = TaskManager(include_defaults=folder is None, include_path=str(folder) if folder else None)
    if folder:
        lm_eval_utils.prepare(folder)
    if config.scorer == "math":
        lm_eval_utils.prepare(lm_eval_utils.TASKS / "minerva_math")
    wanted = [config.lm_eval] if isinstance(config.lm_eval, str) else list(config.lm_eval)
    subtasks = {leaf: _task(manager, leaf, config, source, sandbox) for leaf in _leaves(manager, wanted, name)}
    groups = {group: tuple(_leaves(manager, [tag], name)) for group, tag in config.groups.items()}
    return LoadedTask(name, config, subtasks, groups)


def leaves_of(name: str, config: TaskConfig) -> list[str]:
    """lm-eval's names of the tasks that a task is made of, without its data.

    Raises:
        ValueError: if lm-eval has no such task.
    """
    folder = _folder(name, config.folder)
    manager = TaskManager(include_defaults=folder is None, include_path=str(folder) if folder else None)
    return _leaves(manager, [config.lm_eval] if isinstance(config.lm_eval, str) else list(config.lm_eval), name)


def _folder(name: str, folder: str | None) -> Path | None:
    if folder is None:
        return None
    for candidate in (Path(folder).expanduser(), lm_eval_utils.TASKS / folder, OWN / folder):
        if candidate.is_absolute() and candidate.is_dir():
            return candidate
    raise ValueError(f"task {name}: folder {folder!r} is neither in lm-eval's tasks nor in ours, nor absolute")


def _leaves(manager: TaskManager, names: list[str], task: str) -> list[str]:
    """Names of single tasks behind names of tasks, groups and tags; each once, in order."""
    out: dict[str, None] = {}
    for name in names:
        entry = manager.task_index.get(name)
        if entry is None:
            raise ValueError(
                f"task {task}: lm-eval has no task, group or tag {name!r} there; "
                f"it has: {', '.join(sorted(manager.task_index)[:20])}"
            )
        if entry.kind is Kind.TAG:
            out.update(dict.fromkeys(sorted(entry.tags)))
        elif entry.kind is Kind.GROUP:
            members = load_yaml(entry.yaml_path, resolve_func=False)["task"]
            if odd := [m for m in members if not isinstance(m, str)]:
                raise ValueError(
                    f"task {task}: group {name!r} of lm-eval defines members inline ({odd[0]}); name its tasks"
                )
            out.update(dict.fromkeys(_leaves(manager, members, task)))
        else:
            out[name] = None
    return list(out)


def _task(
    manager: TaskManager, leaf: str, config: TaskConfig, source: DataSource, sandbox: Sandbox | None
) -> SourcedTask:
    path = manager.task_index[leaf].yaml_path
    assert path is not None
    content = deepcopy(load_yaml(path))
    for key in ("tag", "group", "task_list", "unsafe_code"):
        content.pop(key, None)
    _override(content, config)
    if config.scorer == "code":
        assert sandbox is not None, "a code task needs a sandbox"
        # The method of the task's class scores; a function here only tells lm-eval not to.
        content["process_results"] = _scored_by_class
        content["metric_list"] = [_mean(f"pass@{k}") for k in config.pass_k]
        if config.repeats > 1 and "filter_list" not in content:
            keep_all = {"function": "custom", "filter_fn": lambda resps, docs: resps}
            content["filter_list"] = [{"name": "none", "filter": [keep_all]}]
        return CodeTask(content, source, sandbox, list(config.pass_k))
    if config.scorer == "math":
        content["process_results"] = _scored_by_class
        content["metric_list"] = [_mean("exact_match"), _mean("math_verify")]
        return MathTask(content, source)
    return SourcedTask(content, source)


def _override(content: dict[str, Any], config: TaskConfig) -> None:
    """Shots, limits and other generation settings that replace the task's own."""
    if config.num_fewshot is not None:
        content["num_fewshot"] = config.num_fewshot
    if config.repeats > 1:
        content["repeats"] = config.repeats
    generation = dict(config.generation)
    if config.max_gen_toks is not None:
        generation["max_gen_toks"] = config.max_gen_toks
    if generation and content.get("output_type") == "generate_until":
        content["generation_kwargs"] = {**(content.get("generation_kwargs") or {}), **generation}


def _mean(metric: str) -> dict[str, Any]:
    return {"metric": metric, "aggregation": "mean", "higher_is_better": True}


def _scored_by_class(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    raise AssertionError("the task's class scores its documents")
