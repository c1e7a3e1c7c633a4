"""The prompts and the generated answers of stored cells, document by document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lm_eval.api.instance import Instance
from lm_eval.utils import hash_string

from harness.engine import ResidentLM
from harness.evaluation.bench import Bench
from harness.evaluation.cells import CellResult, Outcome
from harness.evaluation.grid import PlannedCell
from harness.evaluation.judged import key_of
from harness.stethoscope.levels.labelled import Answer


def requests_of(bench: Bench, planned: PlannedCell, lm: ResidentLM) -> dict[str, Instance]:
    """The task's requests by document, as its cells asked them.

    Raises:
        ValueError: for a task that generates no answers, or several a document.
    """
    run, task = bench.grid.run, bench.task(planned)
    task.reseed(run.seed)
    chat = run.runtime.chat_template
    out = {}
    for name, subtask in task.subtasks.items():
        if subtask.OUTPUT_TYPE != "generate_until":
            raise ValueError(f"{planned.name.task} has no generated answers; it scores {subtask.OUTPUT_TYPE}")
        if (repeats := subtask.config.repeats) != 1:
            raise ValueError(f"{planned.name.task} draws {repeats} samples a document; levels need one")
        subtask.build_all_requests(
            limit=run.limit,
            samples=None,
            rank=0,
            world_size=1,
            cache_requests=False,
            rewrite_requests_cache=False,
            system_instruction=None,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
            chat_template=lm.apply_chat_template if chat else None,
            tokenizer_name=lm.tokenizer_name if chat else "",
        )
        for request in subtask.instances:
            assert request.doc_id is not None, "lm-eval numbers its documents"
            out[key_of(name, request.doc_id)] = request
    return out


def check_prompts(outcomes: Sequence[Outcome], prompts: Mapping[str, str], result: CellResult) -> None:
    """Raises a ValueError unless the stored answers answer these prompts."""
    for outcome in outcomes:
        prompt = prompts.get(key_of(outcome.subtask, outcome.doc_id))
        if prompt is None or hash_string(prompt) != outcome.prompt_hash:
            raise ValueError(
                f"document {outcome.doc_id} of {outcome.subtask} in the stored cell {result.name} was asked in "
                "other words than this run asks it; run the cell again (fresh=true)"
            )


def answers_of(result: CellResult, outcomes: Sequence[Outcome]) -> list[Answer]:
    """A cell's answers under its own filter."""
    return [
        Answer(key_of(o.subtask, o.doc_id), str(o.response[0][0]), o.metrics[result.metric] >= 1)
        for o in outcomes
        if o.filter == result.filter and result.metric in o.metrics
    ]
