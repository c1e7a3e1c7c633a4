"""``python -m harness.stethoscope.delta base=A other=B``: where two checkpoints differ.

Reads both tensor by tensor; writes a Markdown page, JSON, and two figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from harness.anatomy import Selector
from harness.config.compose import compose_model
from harness.config.typed import typed_overrides
from harness.files import write_text
from harness.stethoscope.delta_figures import write_figures
from harness.stethoscope.delta_tables import Result, judge, markdown, records
from harness.stethoscope.weights import deltas
from harness.stored import open_stored


@dataclass
class DeltaConfig:
    """What to compare.

    Attributes:
        base: checkpoint A: a name of conf/models, a folder or a hub id.
        other: checkpoint B; null takes the donor of A's config.
        revision: hub revision of B; null for the default branch (A has that of its config).
        parts: parts or groups of parts.
        layers: half-open range, as in variants; null for all.
        bias: measure biases too.
        every: the figure of histograms shows every so many layers; null shows about eight.
        figures: draw them.
        out: folder to write to.
    """

    base: str = "lab-base"
    other: str | None = None
    revision: str | None = None
    parts: list[str] = field(default_factory=lambda: ["all"])
    layers: str | None = None
    bias: bool = True
    every: int | None = None
    figures: bool = True
    out: str = "results/delta"


def measure(config: DeltaConfig, progress: bool = True) -> Result:
    """Compares two checkpoints.

    Raises:
        ValueError: for models that cannot be found or do not fit each other, or a selector without match.
    """
    if config.every is not None and config.every < 1:
        raise ValueError(f"every={config.every}: histograms show every so many layers, at least 1")
    name, base = compose_model(config.base)
    if not (wanted := config.other or base.donor):
        raise ValueError(f"nothing to compare {name} with: its config names no donor; give other=NAME|FOLDER|HUB_ID")
    other_name, other = compose_model(wanted)
    a = open_stored(name, base.path, base.revision)
    b = open_stored(other_name, other.path, config.revision or other.revision)
    found = deltas(a, b, Selector(config.parts, config.layers, config.bias), progress)
    source = {
        "A": f"{name} ({base.path})",
        "B": f"{other_name} ({other.path})",
        "parts": ", ".join(config.parts) + (f"; layers {config.layers}" if config.layers else ""),
        "dtypes": "; ".join(f"{m.name}: {', '.join(sorted({t.kind for t in m.tensors.values()}))}" for m in (a, b)),
        "versions": ", ".join(
            f"{p} {version(p)}" for p in ("variant-harness", "torch", "transformers", "numpy", "scipy")
        ),
    }
    return judge(name, other_name, source, found)


def write(result: Result, config: DeltaConfig) -> list[Path]:
    """Writes the page, the JSON and the figures; each file is whole or as it was."""
    folder = Path(config.out)
    paths = [folder / "delta.md", folder / "delta.json"]
    write_text(paths[0], markdown(result))
    write_text(paths[1], json.dumps(records(result)) + "\n")
    if config.figures:
        layers = len({r.delta.layer for r in result.rows if r.delta.layer is not None})
        paths += write_figures(result, folder, config.every or max(1, layers // 8))
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        print(f"{__doc__}\n{DeltaConfig.__doc__}")
        return 0
    try:
        config = typed_overrides(DeltaConfig, given)
        result = measure(config)
        paths = write(result, config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(result).split("\n## By layer")[0])
    print("\nwritten: " + ", ".join(str(p) for p in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
