"""Circuits that the literature knows, to compare with."""

from __future__ import annotations

from dataclasses import dataclass

from harness.circuits.nodes import Head, parse_heads


@dataclass(frozen=True)
class Reference:
    """A published circuit.

    Attributes:
        task: circuit task.
        model: our name of the model.
        source: where it is written.
        groups: role -> heads.
    """

    task: str
    model: str
    source: str
    groups: dict[str, tuple[Head, ...]]

    @property
    def heads(self) -> frozenset[Head]:
        """All of its heads."""
        return frozenset(head for group in self.groups.values() for head in group)


def _reference(task: str, model: str, source: str, **groups: str) -> Reference:
    return Reference(task, model, source, {name.replace("_", " "): parse_heads(text) for name, text in groups.items()})


REFERENCES = {
    "ioi": _reference(
        "ioi",
        "gpt2",
        "Wang et al. 2023, Interpretability in the wild, figure 2",
        name_mover="9.9 10.0 9.6",
        backup_name_mover="10.10 10.6 10.2 10.1 11.2 9.7 9.0 11.9",
        negative_name_mover="10.7 11.10",
        S_inhibition="7.3 7.9 8.6 8.10",
        induction="5.5 5.8 5.9 6.9",
        duplicate_token="0.1 0.10 3.0",
        previous_token="2.2 4.11",
    ),
    "ioi_naive": _reference(
        "ioi",
        "gpt2",
        "Wang et al. 2023, Interpretability in the wild, section 4.1 (the naive circuit)",
        name_mover="9.6 9.9 10.0",
        S_inhibition="7.3 7.9 8.6 8.10",
        induction="5.5 5.9",
        duplicate_token="3.0 0.10",
        previous_token="2.2 4.11",
    ),
    "ioi_path_patching": _reference(
        "ioi",
        "gpt2",
        "Andersen et al. 2025, Accelerated path patching, released results (path patching, k 2.5, least 0.01)",
        found="0.10 0.1 3.0 4.11 4.3 5.5 5.8 5.9 6.9 6.0 7.9 7.3 7.1 8.6 8.10 9.6 9.9 9.7 10.0 10.7 11.10",
    ),
    "ioi_hybrid": _reference(
        "ioi",
        "gpt2",
        "Andersen et al. 2025, Accelerated path patching, released circuits (hybrid)",
        found=(
            "0.1 0.3 0.5 0.10 1.4 1.7 1.10 2.8 2.10 2.11 3.0 3.2 3.10 4.3 4.7 4.11 5.5 5.9 5.10 6.0 6.3 6.4 6.5 6.6 "
            "6.7 6.9 7.3 7.4 7.5 7.8 7.9 8.3 8.5 8.6 8.7 8.10 9.6 9.9 10.0 10.2 10.5 10.7 11.0 11.8 11.10"
        ),
    ),
    "greater_than": _reference(
        "greater_than",
        "gpt2",
        "Hanna et al. 2023, How does GPT-2 compute greater-than?, their code (with the heads before YY)",
        year_to_MLPs="9.1 8.11 7.10 6.9 5.5 8.8 5.1",
        to_the_year="0.1 0.3 0.5",
    ),
    "greater_than_acdc": _reference(
        "greater_than",
        "gpt2",
        "Conmy et al. 2023, Towards automated circuit discovery, their code (another set than Hanna et al.'s)",
        heads="5.5 6.1 6.9 7.10 8.11 9.1",
    ),
    "docstring": _reference(
        "docstring",
        "attn-only-4l",
        "Heimersheim & Janiak 2023, A circuit for Python docstrings",
        argument_mover="3.0 3.6",
        routing="1.4 2.0",
        early="0.5 1.2",
    ),
}


def reference(name: str) -> Reference:
    """A published circuit by name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in REFERENCES:
        raise ValueError(f"unknown reference circuit {name!r}; known: {', '.join(REFERENCES)}")
    return REFERENCES[name]
