"""Finds a circuit, verifies it on other prompts and writes it with everything that made it.

python -m harness.circuits.discover task=ioi model=lab-base [method=app] [KEY=VALUE ...]

Keys, beside those of a circuit (below): task, model (name, folder or hub id), reference (a known circuit's name or a
file), out (a folder), device, dtype, figure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.circuits.figure import write_figures
from harness.circuits.finding import Finder, Finding, find_reference
from harness.circuits.nodes import heads_text
from harness.circuits.settings import check_settings
from harness.circuits.tables import finding_lines
from harness.config.circuits import CircuitConfig, circuit_settings
from harness.config.typed import typed_overrides
from harness.loading import load


@dataclass
class DiscoverConfig(CircuitConfig):
    """One circuit.

    Attributes:
        task: ``ioi`` (if nothing is given), ``greater_than``, ``pronouns``, ``induction``, ``docstring``; for prompts
            from a file any name, by default the file's.
        model: name, folder or hub id.
        reference: a circuit to compare with: a name of the library, or a file; null for none.
        out: folder; the circuit lies in ``out/MODEL/TASK/METHOD``.
        device: torch device; ``auto`` takes a GPU if there is one.
        dtype: of the weights; effects are small, so less than float32 drowns them.
        figure: draw the circuit.
    """

    task: str | None = None
    model: str = "lab-base"
    reference: str | None = None
    out: str = "results/circuits"
    device: str = "auto"
    dtype: str = "float32"
    figure: bool = True


def discover(config: DiscoverConfig) -> tuple[Finding, list[Path]]:
    """Finds one circuit and writes it.

    Returns:
        The finding, and the files.

    Raises:
        ValueError: for settings, a task or a model that do not fit.
    """
    check_settings(config)
    file = config.prompts.file
    task = config.task or (Path(file).name.split(".")[0] if file is not None else "ioi")
    base = load(config.model, config.device, config.dtype)
    shape = base.anatomy.n_layers, base.anatomy.n_heads
    reference = find_reference(config.reference, task, shape)
    folder = Path(config.out) / base.name / task / config.method
    finder = Finder(base, task, circuit_settings(config), folder, reference)
    finding = finder.find(config.method)
    paths = finder.file(finding).save(folder)
    if config.figure:
        paths += write_figures(folder)
    return finding, paths


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        print(f"{__doc__}\n{CircuitConfig.__doc__}")
        return 0
    try:
        config = typed_overrides(DiscoverConfig, given)
        finding, paths = discover(config)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(finding_lines(finding)))
    print(f"circuit: {heads_text(finding.found.heads) or 'no heads'}")
    print("written: " + ", ".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
