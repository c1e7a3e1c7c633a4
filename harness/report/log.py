"""``python -m harness.report log DIR --to mlflow``: tells a tracker of every row of a results folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.report.loggers import LOGGERS, log_table
from harness.report.table import build_table


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.report log", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="results folder")
    parser.add_argument("--to", required=True, choices=list(LOGGERS), help="the tracker")
    parser.add_argument("--project", default="variant-harness", help="experiment or project there")
    parser.add_argument("--uri", help="tracking URI (mlflow), folder (wandb), space (trackio)")
    parser.add_argument("--baseline", default="base", help="variant that the others are compared with")
    args = parser.parse_args(arguments)
    try:
        n = log_table(build_table(args.folder, args.baseline), args.to, args.project, args.uri)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{n} rows told to {args.to}, project {args.project}")
    return 0
