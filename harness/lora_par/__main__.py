"""``python -m harness.lora_par FOLDER ...``: draws what LoRA-PAR variants measured, from their folders of patches."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.lora_par.figure import write_figure


def main(arguments: list[str]) -> int:
    """Draws each folder's figure.

    Args:
        arguments: folders with a ``regions.json``, e.g. ``results/lora_par_patches/lora_par-*``.

    Returns:
        0, or 1 if one could not be drawn.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    failed = 0
    for folder in arguments:
        try:
            print("written:", ", ".join(map(str, write_figure(Path(folder)))))
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
