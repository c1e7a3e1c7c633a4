"""lm-eval tasks that read our data and, where lm-eval's scorer cannot be used, our graders."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

from lm_eval.api.task import ConfigurableTask

from harness.data import DataSource, told
from harness.engine import Deadline
from harness.grading.code import Verdicts, pass_at_k
from harness.grading.mathematics import equal
from harness.sandbox import Sandbox

# Data set "paths" that are file formats of the datasets library: local by nature, never redirected.
_FORMATS = {"json", "csv", "parquet", "text", "arrow"}


class SourcedTask(ConfigurableTask):
    """A task of lm-eval, word for word, whose data come from our source.

    Attributes:
        documents: which of its documents are asked and scored; None for all. Prompts do not depend on it:
            shots are drawn document by document, so requests are always built for all of them.
        deadline: when the work on its cell has to be over.
    """

    def __init__(self, config: dict[str, Any], source: DataSource) -> None:
        self._source = source
        self._shots_seed: int | None = None
        self._built: tuple[tuple[Any, ...], list[Any]] | None = None
        self._building = False
        self._targets: dict[str, Any] = {}
        self.documents: range | None = None
        self.deadline = Deadline()
        super().__init__(config=config)

    def set_fewshot_seed(self, seed: int | None = None) -> None:
        """Puts the draw of shots back to its start."""
        self._shots_seed = seed
        super().set_fewshot_seed(seed)

    def build_all_requests(self, **settings: Any) -> None:
        """Builds prompts once: the next variant gets the same ones, as fresh requests.

        lm-eval builds them anew each time, and a task that is used again draws other shots.
        """
        key = (self._shots_seed, *sorted((k, str(v)) for k, v in settings.items() if not callable(v)))
        if self._built is None or self._built[0] != key:
            self._building = True
            try:
                super().build_all_requests(**settings)
            finally:
                self._building = False
            self._built = key, list(self.instances)
        asked = (i for i in self._built[1] if self.documents is None or i.doc_id in self.documents)
        self._instances: list[Any] = [replace(instance, resps=[], filtered_resps={}) for instance in asked]

    def doc_to_target(self, doc: Any, doc_to_target: Any = None) -> Any:
        """The answer, once a document: lm-eval compiles the template for each outcome of each variant anew."""
        key = json.dumps([doc, str(doc_to_target)], sort_keys=True, default=told)
        if key not in self._targets:
            self._targets[key] = super().doc_to_target(doc, doc_to_target)
        return deepcopy(self._targets[key])

    def doc_iterator(self, **settings: Any) -> Iterator[tuple[int, Any]]:
        """The documents that are asked, with their numbers among all."""
        for doc_id, doc in super().doc_iterator(**settings):
            self.deadline.check(f"document {doc_id} of {self.config.task}")
            if self._building or self.documents is None or doc_id in self.documents:
                yield doc_id, doc

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Opens the data set where the source says, in place of the hub."""
        if callable(self.config.custom_dataset) or self.DATASET_PATH in _FORMATS:
            super().download(dataset_kwargs, **kwargs)
            return
        assert self.DATASET_PATH is not None
        self.dataset = self._source.open(self.DATASET_PATH, self.DATASET_NAME, self.config.task, dataset_kwargs)


class MathTask(SourcedTask):
    """MATH: lm-eval's normalisers give ``exact_match``, math-verify gives ``math_verify``.

    lm-eval also counts an answer as exact if sympy finds it equal to the gold one, which needs a
    version of antlr that Hydra's excludes; here ``exact_match`` is equality after normalisation.
    """

    def process_results(self, doc: dict[str, Any], results: list[str]) -> dict[str, float]:
        """Both metrics of one document."""
        text = results[0]
        verified = equal(doc["solution"], text)
        return {"exact_match": float(self._exact(doc, text)), "math_verify": float(verified)}

    def _exact(self, doc: dict[str, Any], text: str) -> bool:
        utils = sys.modules["lm_eval.tasks.minerva_math.utils"]
        if (self.config.metadata or {}).get("answer") == "boxed":
            boxed = utils.last_boxed_only_string(text)
            # lm-eval asserts a brace or a space after the word; models write other things there too.
            opened = boxed is not None and boxed.startswith(("\\boxed{", "\\boxed "))
            return opened and utils.remove_boxed(boxed).strip() == doc["answer"]
        answer = utils.normalize_final_answer(utils.get_unnormalized_answer(text))
        return answer == doc["answer"]


class CodeTask(SourcedTask):
    """HumanEval's and MBPP's form: programs run in the sandbox, pass@k from n samples."""

    def __init__(self, config: dict[str, Any], source: DataSource, sandbox: Sandbox, ks: list[int]) -> None:
        self._verdicts, self._ks = Verdicts(sandbox), ks
        super().__init__(config, source)

    def process_results(self, doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
        """pass@k for each k of one document."""
        programs = [results[0]] if isinstance(results[0], str) else list(results[0])
        verdicts = self._verdicts.of(programs, str(self.doc_to_target(doc)))
        return {f"pass@{k}": pass_at_k(len(verdicts), sum(verdicts), k) for k in self._ks}
