"""A room imports only rooms on lower floors (docs/architecture.md)."""

import ast
from pathlib import Path

import pytest

import harness

ROOT = Path(harness.__file__).parent
FLOORS = {
    "__main__": 8,
    "live": 6.9,
    "sweep": 7.5,
    "plugin": 7, "run": 7,
    "claimed": 6.8,
    "after": 6.7,
    "studied": 6.6,
    "levels": 6.5,
    "judge": 6.4,
    "answers": 6.2,
    "report": 6,
    "claims": 5.5,
    "evaluation": 5,
    "variants": 4, "tasks": 4,
    "stethoscope": 3, "svf": 3, "lora_par": 3, "circuits": 3, "crosscoder": 3,
    "engine": 2, "training": 2,
    "patch": 1.5,
    "stored": 1.5,
    "forwards": 1, "loading": 1.2,
    "models": 1, "data": 1, "grading": 1, "lab": 1,
    "config": 0, "anatomy": 0, "files": 0, "statistics": 0, "figures": 0.5, "sandbox": 0, "workers": 0,
}  # fmt: skip
FILES = sorted(ROOT.rglob("*.py"))


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
                if node.module == "harness"
                else [node.module]
            )
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            if name.startswith("harness."):
                yield name.split(".")[1], node.lineno


def test_there_is_something_to_check():
    assert len(FILES) > 40


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent != ROOT or p.stem != "__init__"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_go_down(path):
    own = room(path)
    assert own in FLOORS, f"{own} has no floor yet: give it one here and in docs/architecture.md"
    for other, line in imports(path):
        assert other == own or FLOORS[other] < FLOORS[own], f"{path.name}:{line}: {own} imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_stay_readable_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 280


def test_no_two_test_files_have_one_name():
    # Rooms of tests are folders without __init__.py: pytest imports each file by its bare name.
    names = [p.name for p in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names)), sorted(n for n in set(names) if names.count(n) > 1)
