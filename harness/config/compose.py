"""Composing configs with Hydra, by name, with errors that list what is valid."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from harness.config import schema
from harness.config.experiments import Published, settle_model
from harness.config.paths import CONF, LAB_WEIGHTS, conf_folders, user_conf
from harness.config.schema import GateConfig, ModelConfig, RunConfig, TaskConfig
from harness.config.typed import typed


def register() -> None:
    """Makes the schema and the ``${lab:name}`` resolver known to Hydra; harmless when repeated."""
    ConfigStore.instance().store(name="run_schema", node=RunConfig)
    if not OmegaConf.has_resolver("lab"):
        OmegaConf.register_new_resolver("lab", lambda name: str(LAB_WEIGHTS / name))


def search_path_override() -> list[str]:
    """The override that adds a user's own ``conf/``, if there is one."""
    own = user_conf()
    return [f"hydra.searchpath=[file://{own}]"] if own else []


@contextmanager
def _hydra() -> Iterator[None]:
    """Hydra on our configs, also inside a running Hydra application."""
    register()
    instance = GlobalHydra.instance()
    outer, instance.hydra = instance.hydra, None
    try:
        with initialize_config_dir(str(CONF), version_base=None):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def open_keys(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra wants them: below some sections any key may be added."""
    free = ("variant.", "task.", "gates.", "delta", "circuits", "crosscoder", "levels.judge_args")
    return [f"++{o}" if o.startswith(free) else o for o in overrides]


def _compose(name: str, overrides: Sequence[str]) -> DictConfig:
    try:
        with _hydra():
            return compose(name, overrides=[*open_keys(overrides), *search_path_override()])
    except (HydraException, OmegaConfBaseException, YAMLError, OSError) as error:
        raise ValueError(f"config: {_plain(error)}{_valid_keys(str(error.__cause__ or error))}") from error


def _plain(error: Exception) -> str:
    """Hydra's message with that of its cause, which names the key."""
    cause = error.__cause__
    lines = [line for e in (error, cause) if e for line in str(e).splitlines()]
    noise = ("To append to your config", "full_key:", "reference_type=", "object_type=", "set env var")
    return "; ".join(
        dict.fromkeys(line.strip() for line in lines if line.strip() and not line.strip().startswith(noise))
    )


def _valid_keys(message: str) -> str:
    """The keys of the schema that a message names."""
    named = re.search(r"not in '(\w+)'", message)
    owner = getattr(schema, named.group(1), None) if named else None
    return f". Keys: {', '.join(f.name for f in fields(owner))}" if owner else ""


def known(group: str) -> list[str]:
    """Names of the configs in a group, ours and the user's."""
    return sorted({p.stem for folder in conf_folders() for p in (folder / group).glob("*.yaml")})


def unknown(kind: str, name: str, names: Sequence[str]) -> ValueError:
    """The error for a name that no config has."""
    close = difflib.get_close_matches(name, names, 3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}")


def names_of(value: Any) -> list[str]:
    """A list of names from a list or from text with commas, each once."""
    items = value.split(",") if isinstance(value, str) else list(value or [])
    return list(dict.fromkeys(str(i).strip() for i in items if str(i).strip()))


def entries_of(value: Any) -> list[Any]:
    """What a list holds, names with commas apart; each once, in its order."""
    items = value.split(",") if isinstance(value, str) else list(value or [])
    out: list[Any] = []
    for item in items:
        entry = str(item).strip() if not isinstance(item, Mapping) else dict(item)
        if entry and entry not in out:
            out.append(entry)
    return out


def compose_run(overrides: Sequence[str] = ()) -> RunConfig:
    """The run's config with these Hydra overrides.

    Raises:
        ValueError: for unknown keys or groups, or values of the wrong type.
    """
    return typed_run(_compose("harness", overrides), overrides)


def typed_run(config: DictConfig, overrides: Sequence[str]) -> RunConfig:
    """The composed config as a dataclass.

    Args:
        config: what Hydra composed.
        overrides: what was typed, which stands above what an experiment says for its model.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("experiment", None)
    run = typed(RunConfig, settle_model(plain, names_of(plain["model"]), overrides, _same_model), "run config")
    run.gates = {task: typed(GateConfig, gate, f"gates.{task}") for task, gate in run.gates.items()}
    if run.delta is not None and not isinstance(run.delta, Mapping):
        raise ValueError(f"delta={run.delta!r}: expected settings, as delta={{}} or delta.other=NAME; null for none")
    run.published = [typed(Published, block, f"published[{i}]") for i, block in enumerate(run.published)]
    return run


def _same_model(one: str, other: str) -> bool:
    """Two names mean the same weights: ``lab`` is ``lab-base``."""
    return one == other or compose_model(one)[1].path == compose_model(other)[1].path


def compose_model(name: str) -> tuple[str, ModelConfig]:
    """A model by name, folder or hub id: its short name and its config.

    A name or hub id may end in ``@REVISION``: a branch, tag or commit of the hub, as trainings publish checkpoints.

    Raises:
        ValueError: if it is none of the three.
    """
    if "@" in name and not Path(name).exists():
        whole, _, revision = name.partition("@")
        if not revision or Path(whole).is_dir():
            raise ValueError(
                f"model {name!r}: expected NAME@REVISION, with a name or hub id (owner/name) and not a folder"
            )
        short, config = compose_model(whole)
        return f"{short}@{revision}", replace(config, revision=revision)
    if name in known("models"):
        files = [folder / "models" / f"{name}.yaml" for folder in conf_folders()]
        stamps = tuple((str(f), f.stat().st_mtime_ns) for f in files if f.is_file())
        return name, replace(_named_model(name, stamps))
    if Path(name).is_dir():
        return Path(name).resolve().name, ModelConfig(path=str(Path(name).resolve()))
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name.replace("/", "--"), ModelConfig(path=name)
    raise ValueError(f"{unknown('model', name, known('models'))}. Otherwise give a folder or a hub id (owner/name).")


@lru_cache(maxsize=64)
def _named_model(name: str, stamps: tuple[tuple[str, int], ...]) -> ModelConfig:
    """A grid names its models again and again, and each time would take Hydra a while.

    Args:
        name: the model.
        stamps: the files that define it and when they were written.
    """
    content = OmegaConf.to_container(_compose("catalogue", [f"+models@entry={name}"]).entry, resolve=True)
    return typed(ModelConfig, content, f"conf/models/{name}.yaml")


def entry(group: str, name: str, donor: str | None = None) -> dict[str, Any]:
    """The keys and values of a variant or a task.

    Raises:
        ValueError: if its file holds something else.
    """
    files = [file for folder in conf_folders() for file in sorted((folder / group).glob("*.yaml"))]
    return deepcopy(_entry(group, name, donor, tuple((str(f), f.stat().st_mtime_ns) for f in files)))


@lru_cache(maxsize=512)
def _entry(group: str, name: str, donor: str | None, stamps: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    """As `entry`; a grid names its variants and their experts again and again.

    Args:
        group: which.
        name: of the file.
        donor: as in `entry`.
        stamps: the files of the group and when they were written.
    """
    composed = _compose("catalogue", [f"+{group}={name}"])
    try:
        composed.model.donor = donor
        content = OmegaConf.to_container(composed[group], resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(f"conf/{group}/{name}.yaml: {_plain(error)}") from error
    if not isinstance(content, dict):
        raise ValueError(f"conf/{group}/{name}.yaml holds {content!r}, expected keys and values")
    return {str(key): value for key, value in content.items()}


def compose_task(name: str, settings: Mapping[str, Any]) -> tuple[TaskConfig, set[str]]:
    """A task by name, with the settings that it took."""
    if name not in known("task"):
        raise unknown("task or suite", name, [*known("task"), *known("suite")])
    content = entry("task", name)
    taken = {k: v for k, v in settings.items() if k in {f.name for f in fields(TaskConfig)}}
    return typed(TaskConfig, {**content, **taken}, f"task {name}"), set(taken)


def expand_tasks(names: Sequence[str]) -> list[str]:
    """Task names in order, suites replaced by their tasks, each once."""
    out: dict[str, None] = {}
    for name in names:
        if name in known("suite"):
            content = _compose("catalogue", [f"+suite={name}"]).suite
            out.update(dict.fromkeys(content.tasks))
        elif name in known("task"):
            out[name] = None
        else:
            raise unknown("task or suite", name, [*known("task"), *known("suite")])
    return list(out)
