"""What a cell must reach to pass, judged with the noise counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.config.schema import GateConfig
from harness.evaluation.cells import CellResult
from harness.evaluation.pairing import pair
from harness.evaluation.store import Store
from harness.statistics import Comparison


@dataclass(frozen=True)
class GateVerdict:
    """One rule of a gate: did it hold, and the sentence with every number of the decision."""

    passed: bool
    text: str


def judge(gate: GateConfig, result: CellResult, others: Mapping[str, CellResult], store: Store) -> list[GateVerdict]:
    """Judges each rule of a gate.

    ``above`` asks that the whole interval of the paired difference lies above 0. ``not_below`` is
    a test of non-inferiority: the whole interval must lie above ``-margin``; a difference that is
    merely not significant does not pass.
    """
    verdicts = []
    if gate.min is not None:
        passed = result.score >= gate.min
        verdicts.append(GateVerdict(passed, f"score {result.score:.4f}, at least {gate.min} asked (n={result.n})"))
    for rule, name, bound in (("above", gate.above, 0.0), ("not_below", gate.not_below, -gate.margin)):
        if name is None:
            continue
        other = others[name]
        comparison = pair(result, store.outcomes(result.name), other, store.outcomes(other.name)).comparison
        if comparison is None:
            verdicts.append(GateVerdict(False, f"{rule} {name}: no document pairs with that variant's"))
            continue
        verdicts.append(_verdict(rule, name, bound, comparison))
    return verdicts


def _verdict(rule: str, name: str, bound: float, comparison: Comparison) -> GateVerdict:
    d = comparison.difference
    passed = d.low > bound
    if passed:
        word = "holds"
    else:
        word = "is contradicted" if d.high < bound else "is unresolved"
    text = (
        f"{rule} {name}{f' - {-bound:g}' if bound else ''} {word}: difference {d.value:+.4f} "
        f"[{d.low:+.4f}, {d.high:+.4f}], n={d.n}, p={comparison.p:.2g}, resolvable {comparison.resolvable:.4f}"
    )
    return GateVerdict(passed, text)
