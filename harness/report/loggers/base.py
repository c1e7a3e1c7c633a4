"""What a tracker is told of a row, and the interface of all trackers."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.report.rows import Row, Table


@dataclass(frozen=True)
class Logged:
    """One row of a table as a run.

    Attributes:
        name: of the run: model and variant.
        settings: what made it.
        numbers: ``task/what`` -> value.
        files: pages that belong to it.
    """

    name: str
    settings: dict[str, Any]
    numbers: dict[str, float]
    files: tuple[Path, ...]


class Logger(Protocol):
    """A tracker; made with a project and an address."""

    def log(self, run: Logged) -> None:
        """Stores one run, whole."""
        ...


def logged_rows(table: Table) -> list[Logged]:
    """Every row that has cells."""
    files = tuple(p for name in ("table.md", "levels.md", "claims.md") if (p := table.folder / name).is_file())
    return [_logged(table, row, files) for row in table.rows if row.entries]


def _logged(table: Table, row: Row, files: tuple[Path, ...]) -> Logged:
    first = next(iter(row.entries.values())).result
    settings = {
        "model": row.model,
        "variant": row.variant,
        "baseline": table.baseline,
        "method": first.patch["method"],
        "touched": first.patch["touched"],
        "trained": first.patch["trained"],
        "weights": first.identity["model"],
        "patch": first.identity["patch"],
        "dtype": first.identity["dtype"],
        "seed": first.identity["seed"],
        "limit": first.identity["limit"],
        "results": str(table.folder),
    }
    numbers: dict[str, float] = {}
    for task, entry in row.entries.items():
        own: dict[str, float] = {
            "score": entry.score.value,
            "score_low": entry.score.low,
            "score_high": entry.score.high,
            "n": entry.result.n,
            "seconds": entry.result.seconds,
        }
        c = entry.pairing.comparison if entry.pairing else None
        if c is not None and entry.adjusted_p is not None:
            own |= {
                "difference": c.difference.value,
                "difference_low": c.difference.low,
                "difference_high": c.difference.high,
                "p": c.p,
                "adjusted_p": entry.adjusted_p,
                "gained": c.gained,
                "lost": c.lost,
                "resolved": {"gain": 1, "regression": -1}.get(entry.verdict, 0),
            }
        # Trackers allow letters, digits and a few signs in names.
        plain = re.sub(r"[^A-Za-z0-9_. /-]", "-", task)
        numbers.update({f"{plain}/{key}": float(value) for key, value in own.items()})
    return Logged(f"{row.model}/{row.variant}", settings, numbers, files)


def tracker(module: str, package: str) -> Any:
    """A tracker's own library.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"{module} is not installed: pip install {package}") from error
