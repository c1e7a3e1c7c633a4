"""A log file for each process of a run: what runs, what it took, what went wrong."""

from __future__ import annotations

import logging
from pathlib import Path


def log_to(results: Path, process: str) -> Path:
    """Sends our log and lm-eval's to ``<results>/logs/<process>.log``; returns the file.

    Raises:
        ValueError: if the results folder cannot be written.
    """
    folder = results / "logs"
    file = folder / f"{process}.log"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"results folder {results} cannot be written: {error}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("harness", "lm_eval"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return file
