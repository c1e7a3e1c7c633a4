"""Where configs, suites and the lab's weights lie, in a clone and in an installed wheel."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def _shipped(name: str) -> Path:
    """A folder beside the package in a clone, inside it in a wheel."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


CONF = _shipped("conf")
SUITES = _shipped("suites")
LAB_WEIGHTS = _PACKAGE / "lab" / "weights"


def user_conf() -> Path | None:
    """A user's own ``conf/`` that extends ours: ``$HARNESS_CONF``, else ``conf/`` in the working folder.

    Raises:
        ValueError: if ``$HARNESS_CONF`` is no folder, or a file there has the name of one of ours.
    """
    named = os.environ.get("HARNESS_CONF")
    folder = Path(named) if named else Path.cwd() / "conf"
    if not folder.is_dir():
        if named:
            raise ValueError(f"HARNESS_CONF={named} is not a folder")
        return None
    folder = folder.resolve()
    if folder == CONF.resolve():
        return None
    theirs = {p.relative_to(folder) for p in folder.rglob("*.yaml")}
    clash = sorted(str(p) for p in theirs if (CONF / p).exists())
    if clash:
        raise ValueError(f"{folder}: {', '.join(clash)} exist in the package's conf/ too; give them other names")
    return folder


def conf_folders() -> list[Path]:
    """All folders that configs are read from, ours first."""
    own = user_conf()
    return [CONF, own] if own else [CONF]


if __name__ == "__main__":
    # For command lines: pytest "$(python -m harness.config.paths)" suites
    sys.stdout.write(f"{SUITES}\n")
