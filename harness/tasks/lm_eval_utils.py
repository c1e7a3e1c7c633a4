"""lm-eval's task utilities, imported where their import asks for what we do not use.

HumanEval's and MBPP's ``utils.py`` load a metric from the hub at import; MATH's asserts a version
of antlr that Hydra's excludes. Their prompts, shots and filters are what we want; the scorers are
ours. So the modules are imported once with those checks answered, and the stand-ins are gone
before any of their functions runs.
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import lm_eval.tasks
from lm_eval.tasks._yaml_loader import _load_module_with_cache

TASKS = Path(lm_eval.tasks.__file__).parent
_NEED_CODE_EVAL = ("humaneval", "mbpp")
_NEED_ANTLR = ("minerva_math",)


def prepare(folder: Path) -> None:
    """Imports the utilities of a task folder that could not be imported as they are."""
    name = folder.name
    if folder.parent != TASKS or name not in (*_NEED_CODE_EVAL, *_NEED_ANTLR):
        return
    with _code_eval_stand_in() if name in _NEED_CODE_EVAL else _antlr_stand_in():
        _load_module_with_cache(folder / "utils.py")


@contextmanager
def _code_eval_stand_in() -> Iterator[None]:
    """``evaluate.load("code_eval")`` gives an object that computes nothing."""

    class _Unused:
        def compute(self, **_: object) -> tuple[dict[str, float], dict[str, object]]:
            return {"pass@1": 0.0}, {}

    module = types.ModuleType("evaluate")
    module.load = lambda *_, **__: _Unused()  # type: ignore[attr-defined]
    real = sys.modules.get("evaluate")
    sys.modules["evaluate"] = module
    try:
        yield
    finally:
        if real is None:
            del sys.modules["evaluate"]
        else:
            sys.modules["evaluate"] = real


@contextmanager
def _antlr_stand_in() -> Iterator[None]:
    """The version check sees the version it asks for."""
    real = importlib.metadata.version
    with mock.patch.object(
        importlib.metadata, "version", lambda name: "4.11.0" if name == "antlr4-python3-runtime" else real(name)
    ):
        yield
