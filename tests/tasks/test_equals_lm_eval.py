"""Our cells against lm-eval's own Hugging Face backend, run directly, document by document."""

import json
from collections.abc import Mapping

import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from harness.config.compose import compose_run, compose_task
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid, source_of
from harness.sandbox import why_missing
from harness.tasks import lm_eval_utils

LIMIT = 20
# Tasks whose metrics lm-eval can compute here; the scorers of the others are ours.
SAME_METRICS = {"gsm8k", "gsm8k_cot", "arc_easy", "arc_challenge", "mmlu"}
# Minutes: 57 subjects of 20 documents, with prompts that fill the context.
SLOW = {"mmlu", "math"}
TASKS = ["gsm8k", "gsm8k_cot", "math", "humaneval", "mbpp", "arc_easy", "arc_challenge", "mmlu"]


class Direct(ConfigurableTask):
    """lm-eval's task with the mirror's rows under it, and a scorer that cannot be had offline left out."""

    rows: Mapping

    def __init__(self, config, rows, drop_scorer):
        self._rows, self._drop = rows, drop_scorer
        super().__init__(config=config)

    def download(self, dataset_kwargs=None, **kwargs):
        self.dataset = self._rows

    def process_results(self, doc, results):
        return {"unscored": 0.0} if self._drop else super().process_results(doc, results)


def direct_samples(task, bench, grid, cell):
    folder = lm_eval_utils.TASKS / compose_task(task, {})[0].folder
    lm_eval_utils.prepare(folder)
    index = TaskManager(include_defaults=False, include_path=str(folder)).task_index
    tasks = {}
    for name in cell.task.subtasks:
        config = load_yaml(index[name].yaml_path)
        for key in ("tag", "group", "task_list"):
            config.pop(key, None)
        if task == "mmlu":
            config["num_fewshot"] = 5
        drop = task not in SAME_METRICS
        if drop:
            config["metric_list"] = [{"metric": "unscored", "aggregation": "mean", "higher_is_better": True}]
            config["process_results"] = lambda doc, results: {}
        if config["output_type"] == "generate_until":
            # HFLM refuses a limit that leaves no room for the prompt: lower it as the harness does.
            kwargs = dict(config["generation_kwargs"])
            kwargs["max_gen_toks"] = min(kwargs.get("max_gen_toks", 256), 512 // 2)
            config["generation_kwargs"] = kwargs
        rows = source_of(grid.run).open(config["dataset_path"], config.get("dataset_name"), name)
        tasks[name] = Direct(config, rows, drop)
        tasks[name].set_fewshot_seed(1234)
    lm = HFLM(pretrained=cell.base.model, tokenizer=cell.base.tokenizer, batch_size=32)
    return evaluate(lm, {"tasks": tasks}, limit=LIMIT, bootstrap_iters=0, confirm_run_unsafe_code=True)["samples"]


@pytest.mark.parametrize("task", [pytest.param(t, marks=pytest.mark.slow) if t in SLOW else t for t in TASKS])
def test_prompts_and_outcomes_are_lm_evals(task, data_root, tmp_path):
    if task in ("humaneval", "mbpp") and why_missing():
        pytest.skip(why_missing())
    model = data_root / "models" / "stories260K"
    run = compose_run(
        [
            f"model='{model}'",
            f"tasks=[{task}]",
            f"limit={LIMIT}",
            "data=mirror",
            f"data.root='{data_root}/mirror'",
            f"results.dir='{tmp_path}'",
            "runtime.device=cpu",
        ]
    )
    grid = plan_grid(run)
    bench = Bench(grid)
    (planned,) = grid.cells
    result = bench.evaluate(planned).result
    ours = {}
    for o in bench.store.outcomes(result.name):
        ours[o.subtask, o.doc_id, o.filter] = o
    theirs = [
        (name, row) for name, rows in direct_samples(task, bench, grid, bench.cell(planned)).items() for row in rows
    ]
    assert len(theirs) == len(ours) >= LIMIT
    for name, row in theirs:
        mine = ours[name, row["doc_id"], row["filter"]]
        assert (mine.doc_hash, mine.prompt_hash) == (row["doc_hash"], row["prompt_hash"])
        if mine.response is not None:
            assert json.dumps(mine.prediction) == json.dumps(row["filtered_resps"])
            assert mine.response == row["resps"]
        else:
            for (value, greedy), (expected, flag) in zip(mine.prediction, row["filtered_resps"], strict=True):
                assert float(value) == pytest.approx(float(expected), abs=1e-4)
                assert str(greedy) == str(flag)
        if task in SAME_METRICS:
            assert mine.metrics == {m: float(row[m]) for m in row["metrics"]}
    # HumanEval asks for 1,024 tokens of a model of 512: lowered, and counted.
    assert (result.counts["clipped_budgets"] > 0) == (task == "humaneval")
    assert result.counts["clipped_prompts"] > 0 or task in ("arc_easy", "arc_challenge", "humaneval")
