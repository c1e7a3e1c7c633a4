"""``python -m harness.report DIR``: renders a results folder again from its stored cells."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.report import build_table, terminal_text, write_pages


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m harness.report", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="results folder, with cells/ in it")
    parser.add_argument("--baseline", default="base", help="variant that the others are compared with")
    parser.add_argument("--tasks", type=_names, help="tasks to show, with commas, in this order")
    parser.add_argument("--variants", type=_names, help="variants to show, with commas, in this order")
    parser.add_argument("--model", type=_names, help="models to show, with commas, in this order")
    parser.add_argument("--sort", metavar="TASK", help="order variants by their score on this task")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the pages there, not over the folder's own")
    args = parser.parse_args(arguments)
    try:
        table = build_table(args.folder, args.baseline, args.tasks, args.variants, args.model, args.sort)
        paths = write_pages(table, args.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(terminal_text(table))
    print("\nwritten: " + ", ".join(str(p) for p in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
