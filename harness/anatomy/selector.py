"""Which tensors a surgery touches: parts, a range of layers, biases or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.anatomy.anatomy import Anatomy, Site
from harness.anatomy.architectures import GROUPS, PARTS, Part


def parse_parts(names: Sequence[str]) -> tuple[Part, ...]:
    """Expands group names (``mlp``, ``attention``, ``qkv``, ``all``) to parts, in table order.

    A name with a leading ``-`` takes its parts away again: ``["all", "-o_proj"]``.

    Raises:
        ValueError: for an unknown name, or if nothing is left.
    """
    chosen: set[Part] = set()
    for name in names:
        bare = name.removeprefix("-")
        parts = GROUPS.get(bare) or tuple(p for p in PARTS if p == bare)
        if not parts:
            raise ValueError(f"unknown part {name!r}; known: {', '.join((*PARTS, *GROUPS))}")
        chosen = chosen - set(parts) if name.startswith("-") else chosen | set(parts)
    if not chosen:
        raise ValueError(f"no parts are left of {list(names)}")
    return tuple(p for p in PARTS if p in chosen)


def parse_layers(text: str | int | Sequence[int] | None, n_layers: int) -> tuple[int, ...] | None:
    """Layers from ``"5:30"`` (half-open), ``"3"``, ``"0:2,4:6"``, ``":2"`` or a list; None means all.

    Raises:
        ValueError: for text of another form, an empty range or a layer that the model lacks.
    """
    if text is None:
        return None
    if isinstance(text, (str, int)):
        pieces = [piece.strip() for piece in str(text).split(",")]
        layers = [layer for piece in pieces for layer in _piece(piece, n_layers)]
    else:
        layers = [int(layer) for layer in text]
    bad = [layer for layer in layers if not 0 <= layer < n_layers]
    if bad or not layers:
        hint = " (YAML reads an unquoted 2:30 as a number: write it in quotes)" if isinstance(text, int) else ""
        raise ValueError(f"layers {text!r}: the model has layers 0 to {n_layers - 1}{hint}")
    return tuple(sorted(set(layers)))


def _piece(piece: str, n_layers: int) -> range:
    start, colon, stop = piece.partition(":")
    try:
        first = int(start) if start else 0
        last = (int(stop) if stop else n_layers) if colon else first + 1
    except ValueError:
        raise ValueError(f"layers {piece!r}: expected a half-open range such as '2:4', or a number") from None
    if not colon and not start:
        raise ValueError("layers: an empty piece")
    return range(first, last)


@dataclass(frozen=True)
class Selector:
    """Parts x layers of a model.

    Attributes:
        parts: names of parts or groups of parts.
        layers: half-open range as text, a list, or None for all layers. With a range, parts that
            lie outside the layers (embeddings, head, last norm) are not selected.
        bias: select biases too; False selects weights only.
    """

    parts: Sequence[str]
    layers: str | int | Sequence[int] | None = None
    bias: bool = True

    def resolve(self, anatomy: Anatomy) -> tuple[Site, ...]:
        """The sites that match.

        Raises:
            ValueError: if none does, with what the model offers.
        """
        parts = parse_parts(self.parts)
        layers = parse_layers(self.layers, anatomy.n_layers)
        sites = tuple(
            s
            for s in anatomy.sites
            if s.part in parts and (layers is None or s.layer in layers) and (self.bias or not s.is_bias)
        )
        if not sites:
            has = sorted({s.part for s in anatomy.sites if layers is None or s.layer in layers}, key=PARTS.index)
            where = "" if layers is None else f" in layers {self.layers}"
            raise ValueError(
                f"selector {list(self.parts)}{where} (bias={self.bias}) matches no tensor of this "
                f"{anatomy.architecture.model_type} model; it has{where}: {', '.join(has)}"
            )
        return sites
