"""Figures of matplotlib as files."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def save_figures(folder: Path, figures: Mapping[str, Callable[[], Figure]], without: str = "") -> list[Path]:
    """Draws figures in one style and writes each in every format; the same figure twice is the same file twice.

    Args:
        folder: where to.
        figures: file name without its ending -> what draws it.
        without: what the error adds on how to go on without figures.

    Raises:
        ValueError: if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ValueError(f"figures need matplotlib: pip install variant-harness[report]{without}") from error
    matplotlib.use("Agg")
    style: Any = {"svg.hashsalt": "harness", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    out = []
    with matplotlib.rc_context(style):
        for name, draw in figures.items():
            figure = draw()
            for kind in FORMATS:
                content = io.BytesIO()
                figure.savefig(content, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {})
                out.append(folder / f"{name}.{kind}")
                write_bytes(out[-1], content.getvalue())
    return out
