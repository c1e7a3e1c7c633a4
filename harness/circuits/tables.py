"""Findings as tables that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from harness.circuits.cost import Cost
from harness.circuits.finding import Finding
from harness.circuits.share import Interval
from harness.circuits.tasks import TaskSets

LABELS = {
    "path_patching": "path patching",
    "flap": "FLAP",
    "contrastive": "Contrastive-FLAP",
    "paired": "paired contrast",
    "hybrid": "hybrid",
    "app": "APP",
    "activation": "activation patching",
    "attribution": "attribution patching",
    "attribution_ig": "attribution, integrated",
}


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f}"


def interval(found: Interval) -> str:
    """A share with its interval, in percent."""
    return f"{percent(found.value)} [{percent(found.low)}, {percent(found.high)}]"


def finding_lines(finding: Finding) -> list[str]:
    """One finding as lines for a terminal."""
    v, cost = finding.verified, finding.found.cost
    rows = [
        ["heads", f"{v.size} ({percent(v.sparsity)}% left out)"],
        [f"faithfulness ({v.metric}, n={v.n})", f"{interval(v.faithfulness)} % of what the model has above the floor"],
        ["circuit, model, floor", f"{v.circuit:.3f}, {v.full:.3f}, {v.floor:.3f}"],
        *([f"of {null.n} {_kind(null.kind)}", _null(null.p, null.mean)] for null in v.nulls),
        ["KL to the model", f"{v.kl:.3f} nats (floor {v.kl_floor:.3f})"],
        ["accuracy", f"{interval(v.accuracy)} % (model {percent(v.accuracy_full)})"],
        ["CPR, CMD", f"{finding.cpr:.3f}, {finding.cmd:.3f}"],
    ]
    if v.incompleteness is not None:
        without = " ".join(v.incomplete_without)
        rows.append(
            [
                "incompleteness",
                f"{percent(v.incompleteness)} % of what the model has above the floor: circuit and model differ by it "
                f"without {without}",
            ]
        )
    if v.minimality:
        idle = [head for head, (lost, se) in v.minimality.items() if abs(lost) <= 1.96 * se]
        rows.append(["heads whose loss is not resolved", ", ".join(idle) or "none"])
    if finding.agreement is not None:
        rows.append(
            ["TPR, precision, IoU", ", ".join(_share(finding.agreement[k]) for k in ("tpr", "precision", "iou"))]
        )
    if v.without_means:
        rows.append(
            ["prompts without means of their own", f"{v.without_means} of {v.n}: they got means over positions"]
        )
    if not finding.found.details.get("as_asked", True):
        rows.append(["chosen", "no candidate was as small and as faithful as asked"])
    rows.append(["found with", _cost(cost)])
    return tabulate(rows, tablefmt="plain").splitlines()


def task_table(findings: Mapping[str, Finding], against: str) -> list[str]:
    """The methods of one task as a Markdown table.

    Args:
        findings: method -> finding.
        against: what TPR and precision are against.
    """
    heads = [
        "method", "heads", "left out %", "faithful %", "p any", "p layers", "raw %", "KL (floor)", "accuracy %",
        "incomplete %", "idle", "TPR %", "precision %",
    ]  # fmt: skip
    rows = []
    for method, finding in findings.items():
        v, both = finding.verified, finding.agreement or {}
        ps = {null.kind: f"{null.p:.3f}" for null in v.nulls}
        idle = sum(abs(lost) <= 1.96 * se for lost, se in v.minimality.values())
        rows.append(
            [
                LABELS.get(method, method), v.size, percent(v.sparsity), interval(v.faithfulness), ps.get("random", ""),
                ps.get("layers", ""), _share(v.raw), f"{v.kl:.2f} ({v.kl_floor:.2f})", interval(v.accuracy),
                percent(v.incompleteness) if v.incompleteness is not None else "", idle if v.minimality else "",
                _share(both.get("tpr")), _share(both.get("precision")),
            ]
        )  # fmt: skip
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    lines = [*table.splitlines(), "", f"TPR and precision are against {against}."]
    if missed := [LABELS.get(m, m) for m, f in findings.items() if not f.found.details.get("as_asked", True)]:
        lines += ["", f"No candidate was as small and as faithful as asked: {', '.join(missed)}."]
    if stopped := [LABELS.get(m, m) for m, f in findings.items() if f.found.details.get("stopped")]:
        lines += ["", f"Stopped at the largest size allowed (most): {', '.join(stopped)}."]
    return lines


def cost_table(findings: Mapping[str, Finding]) -> list[str]:
    """What the methods of one task cost, and how their rankings do at every size, as a Markdown table."""
    names = sorted({name for f in findings.values() for name in f.found.cost.passes})
    heads = ["method", *(f"{name} passes" for name in names), "GFLOPs", "seconds", "CPR", "CMD"]
    rows = []
    for method, finding in findings.items():
        cost = finding.found.cost
        passes = [cost.passes[name] or "" for name in names]
        work = [f"{cost.total_flops / 1e9:.2f}", f"{cost.seconds:.2f}", f"{finding.cpr:.3f}", f"{finding.cmd:.3f}"]
        rows.append([LABELS.get(method, method), *passes, *work])
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True).splitlines()


def saving_line(whole: Cost, accelerated: Cost, alone: Cost) -> str:
    """What APP costs beside path patching.

    Args:
        whole: of path patching over all heads.
        accelerated: of APP, the search for its hybrid circuit included.
        alone: of APP's path patching alone.
    """

    def times(cost: Cost) -> str:
        pairs = [
            ("FLOPs", cost.total_flops, whole.total_flops),
            ("passes", cost.total_passes, whole.total_passes),
            ("time", cost.seconds, whole.seconds),
        ]
        return ", ".join(f"{a / b:.2f} x the {name}" for name, a, b in pairs if b)

    return (
        f"APP takes {times(accelerated)} of path patching; its own path patching, without the search for the hybrid "
        f"circuit, {times(alone)}. The paper: 0.07 to 0.40 x the FLOPs (59.63% to 93.27% less), between its own loops."
    )


def prompts_line(sets: TaskSets, metric: str, ablation: str) -> str:
    """Which prompts a table is about."""
    sizes = f"{len(sets.find)} prompts to find, {len(sets.verify)} others to verify, {len(sets.means)} for means"
    counts = "; ".join(f"{name}: {text}" for name, text in sets.counts.items())
    return f"{sizes}; words: {sets.source}; corruption `{sets.corruption}`; {metric}; ablation `{ablation}`. {counts}."


def head_lists(findings: Mapping[str, Finding]) -> list[str]:
    """The circuits themselves."""
    return [
        f"- {LABELS.get(method, method)}: {' '.join(map(str, sorted(f.found.heads))) or 'no heads'}"
        for method, f in findings.items()
    ]


def _cost(cost: Cost) -> str:
    passes = ", ".join(f"{n} {name}" for name, n in sorted(cost.passes.items()))
    return f"{cost.total_passes} passes ({passes}), {cost.total_flops / 1e9:.2f} GFLOPs, {cost.seconds:.2f} s"


def _kind(kind: str) -> str:
    return "random circuits" if kind == "random" else "with as many heads in each layer"


def _null(p: float, mean: float) -> str:
    return f"at least as faithful: p {p:.3f}; they keep {percent(mean)} % on average"


def _share(value: float | None) -> str:
    return "-" if value is None else percent(value)


def spaced(blocks: Sequence[Sequence[str]]) -> str:
    """Blocks of lines with an empty line between them."""
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"
