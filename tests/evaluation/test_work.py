"""Cells in parts: the same outcomes as undivided, whoever does them and whoever dies."""

import json
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.config.compose import compose_run
from harness.evaluation.bench import Bench
from harness.evaluation.grid import plan_grid
from harness.evaluation.parts import PartStore, cut
from harness.evaluation.schedule import Schedule
from harness.evaluation.session import Session
from harness.evaluation.store import Store

SMALL = ("runtime.device=cpu", "runtime.threads=1", "limit=40")


def bench(folder, *overrides, parts=1, session=None):
    grid = plan_grid(compose_run([*SMALL, f"results.dir='{folder}'", *overrides]))
    plan = Schedule(grid.cells, {c.name: parts for c in grid.cells})
    return Bench(grid, "", Session(session, plan) if session else Session(plan=plan))


def outcomes(folder):
    store = Store(folder)
    return {str(r.name): store.outcomes(r.name) for r in store}


def judged(outcome):
    """Without log-likelihoods, whose last digits depend on what shares a batch."""
    return outcome.document, outcome.filter, outcome.response, {k: round(v, 3) for k, v in outcome.metrics.items()}


@pytest.mark.parametrize(
    "task",
    ["lab_gsm8k", "lab_mmlu", "lab_humaneval", "lab_arc", "lab_gsm8k_self_consistency", "lab_gsm8k(num_fewshot=3)"],
)
def test_a_cell_in_parts_is_the_undivided_one(tmp_path, task):
    name, _, extra = task.partition("(")
    overrides = [f"tasks=[{name}]", *(["task.num_fewshot=3"] if extra else [])]
    whole, divided = bench(tmp_path / "whole", *overrides), bench(tmp_path / "parts", *overrides, parts=5)
    one, many = (b.evaluate(b.grid.cells[0]).result for b in (whole, divided))
    assert (one.settings["parts"], many.settings["parts"] > 1) == (1, True)
    assert one.digest == many.digest
    assert one.scores == pytest.approx(many.scores)
    (a,), (b,) = outcomes(tmp_path / "whole").values(), outcomes(tmp_path / "parts").values()
    assert [judged(x) for x in a] == [judged(x) for x in b]
    for key in ("requests", "prompt_tokens", "generated_tokens", "clipped_prompts", "not_finite"):
        assert one.counts[key] == many.counts[key]
    assert not list((tmp_path / "parts" / ".parts").glob("*/*"))


def test_texts_that_depend_on_their_batch_are_not_divided(tmp_path):
    made = bench(tmp_path, "tasks=[lab_gsm8k_self_consistency]", "engine=hf", "limit=16", parts=4)
    assert made.evaluate(made.grid.cells[0]).result.settings["parts"] == 1


def test_a_cut_stays_and_finished_parts_are_not_run_again(tmp_path, monkeypatch):
    first = bench(tmp_path, "tasks=[ioi]", parts=4)
    ran = []
    from harness.evaluation import work

    plain = work.run_part

    def breaking(cell, part, plans):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(part)
        return plain(cell, part, plans)

    monkeypatch.setattr(work, "run_part", breaking)
    with pytest.raises(KeyboardInterrupt):
        first.evaluate(first.grid.cells[0])
    monkeypatch.setattr(work, "run_part", lambda cell, part, plans: (ran.append(part), plain(cell, part, plans))[1])
    # A session with other ideas about the cut goes on with the old one.
    second = bench(tmp_path, "tasks=[ioi]", parts=2)
    result = second.evaluate(second.grid.cells[0]).result
    assert [p.start for p in ran] == [0, 10, 20, 30]
    assert result.settings["parts"] == 4


def test_a_damaged_part_is_run_again(tmp_path):
    made = bench(tmp_path, "tasks=[ioi]", parts=4)
    cell = made.cell(made.grid.cells[0])
    made._work.help(cell, 4, made._plans)
    (folder,) = (tmp_path / ".parts").iterdir()
    part = sorted(folder.glob("*.jsonl"))[1]
    part.write_text(part.read_text()[:100])
    assert made.evaluate(made.grid.cells[0]).result.n == 40


def test_fresh_runs_a_stored_cell_once_a_session(tmp_path):
    bench(tmp_path, "tasks=[ioi]").evaluate(bench(tmp_path, "tasks=[ioi]").grid.cells[0])
    first = bench(tmp_path, "tasks=[ioi]", "fresh=true", session="s")
    assert not first.evaluate(first.grid.cells[0]).reused
    when = Store(tmp_path).get(first.grid.cells[0].name).finished
    again = bench(tmp_path, "tasks=[ioi]", "fresh=true", session="s")
    assert again.evaluate(again.grid.cells[0]).result.finished == when


def test_the_deadline_of_a_cell_ends_it_and_keeps_its_parts(tmp_path, monkeypatch):
    made = bench(tmp_path, "tasks=[lab_gsm8k]", "runtime.cell_deadline=0.000001")
    with pytest.raises(
        TimeoutError, match=r"lab-base/base/lab_gsm8k passed its deadline: .*runtime.cell_deadline=1e-06"
    ):
        made.evaluate(made.grid.cells[0])
    (failure,) = made.store.failures()
    assert "passed its deadline" in failure.text
    made = bench(tmp_path, "tasks=[lab_gsm8k]")
    made.evaluate(made.grid.cells[0])
    assert not made.store.failures()


@pytest.mark.parametrize("engine", ["tree", "hf"])
@pytest.mark.parametrize("task", ["lab_gsm8k", "lab_arc", "lab_humaneval"])
def test_deadlines_are_kept_in_the_middle_of_a_cell(tmp_path, engine, task, monkeypatch):
    """Every loop looks at the clock: the time runs out after the third look."""
    from harness.engine import Deadline

    looked = []
    plain = Deadline.check

    def check(self, where=""):
        looked.append(where)
        if len(looked) > 60:
            self._seconds = 0.0
        plain(self, where)

    monkeypatch.setattr(Deadline, "check", check)
    made = bench(tmp_path, f"tasks=[{task}]", f"engine={engine}", "runtime.cell_deadline=1000")
    with pytest.raises(TimeoutError):
        made.evaluate(made.grid.cells[0])


WORKER = """
import sys
sys.path.insert(0, {tests!r})
from evaluation.test_work import bench
from pathlib import Path
made = bench(Path({folder!r}), *{overrides!r}, parts={parts}, session={session!r})
for planned in made.grid.cells:
    made.evaluate(planned)
print("finished", flush=True)
"""


def worker(folder, overrides, parts=4, session="s"):
    tests = str(Path(__file__).parents[1])
    code = WORKER.format(tests=tests, folder=str(folder), overrides=list(overrides), parts=parts, session=session)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_runs_of_one_folder_share_the_work(tmp_path):
    overrides = ("variants=[base,oproj_zeroed]", "tasks=[lab_gsm8k,ioi]")
    both = [worker(tmp_path, overrides, session=s) for s in "ab"]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert len(outcomes(tmp_path)) == 4
    assert not (tmp_path / "replaced").exists(), "no cell was run twice"


def test_a_cell_that_kills_two_workers_is_not_tried_a_third_time(tmp_path):
    folder = tmp_path
    made = bench(folder, "tasks=[ioi]", parts=1, session="s")
    cell = made.cell(made.grid.cells[0])
    key = f"{cell.digest[:24]}-0"
    for n in range(2):
        (folder / ".locks").mkdir(exist_ok=True)
        log = folder / f"log{n}"
        log.write_text(f"line one\nthe last words of {n}\n")
        dead = {"session": "s", "host": "h", "pid": 10 + n, "log": str(log)}
        (folder / ".locks" / f"{key}.working").write_text(json.dumps(dead))
        if n == 0:
            # One death is forgiven; here the second try fails for another reason.
            with made._work._claims.claim(cell.name, key) as free:
                assert free
    with pytest.raises(ValueError, match=r"(?s)killed 2 workers.*process 11 on h.*the last words of 1"):
        made.evaluate(made.grid.cells[0])
    # Another session starts with a clean slate.
    other = bench(folder, "tasks=[ioi]", session="t")
    assert other.evaluate(other.grid.cells[0]).result.n == 40


def test_deaths_of_an_earlier_session_say_nothing(tmp_path):
    made = bench(tmp_path, "tasks=[ioi]", session="new")
    key = f"{made.cell(made.grid.cells[0]).digest[:24]}-0"
    (tmp_path / ".locks").mkdir()
    for broken in ('{"session": "old", "host": "h", "pid": 1, "log": ""}', "{"):
        (tmp_path / ".locks" / f"{key}.working").write_text(broken)
        with made._work._claims.claim(made.grid.cells[0].name, key) as free:
            assert free
    assert made.journal.entries() == []


def test_parts_of_another_number_of_documents_are_forgotten(tmp_path):
    store = PartStore(tmp_path / "p")
    assert store.cut(100, 4) == cut(100, 4)
    assert store.cut(100, 9) == cut(100, 4)
    assert store.cut(50, 2) == cut(50, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])  # seven kills each
def test_kills_at_random_times_end_in_the_undisturbed_results(tmp_path, seed):
    """Two processes on one folder; whichever is killed is replaced, until the work is done."""
    import random

    draw = random.Random(seed)
    overrides = ("tasks=[lab_gsm8k,lab_mmlu]", "limit=24")
    calm = bench(tmp_path / "calm", *overrides)
    for planned in calm.grid.cells:
        calm.evaluate(planned)
    folder, kills, running = tmp_path / "stormy", 0, []
    try:
        running = [worker(folder, overrides) for _ in range(2)]
        while not any(p.poll() == 0 for p in running):
            if kills < 7:
                time.sleep(draw.uniform(4.0, 9.0))
                victim = draw.randrange(2)
                running[victim].send_signal(signal.SIGKILL)
                running[victim].communicate()
                kills += 1
                # A session of its own: what dies here says nothing of the cell.
                running[victim] = worker(folder, overrides, session=f"s{kills}")
            else:
                time.sleep(0.2)
                for process in running:
                    assert process.poll() in (None, 0), process.stderr.read()
    finally:
        for process in running:
            process.kill()
            process.communicate()
    there, calmly = outcomes(folder), outcomes(tmp_path / "calm")
    assert {name: [judged(o) for o in own] for name, own in there.items()} == {
        name: [judged(o) for o in own] for name, own in calmly.items()
    }
    assert multiprocessing.active_children() == []


def test_a_failure_is_forgotten_when_the_cell_turns_out_to_be_stored(tmp_path):
    first = bench(tmp_path, "tasks=[ioi]")
    planned = first.grid.cells[0]
    first.evaluate(planned)
    first.fail(planned, "a gate's sibling could not be had")
    assert first.store.failures()
    again = bench(tmp_path, "tasks=[ioi]")
    assert again.evaluate(planned).reused
    assert not again.store.failures()


def test_a_disk_without_room_for_notes_takes_no_stored_cell_back(tmp_path, monkeypatch):
    bench(tmp_path, "tasks=[ioi]").evaluate(bench(tmp_path, "tasks=[ioi]").grid.cells[0])
    again = bench(tmp_path, "tasks=[ioi]")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(again.journal), "note", full)
    assert again.evaluate(again.grid.cells[0]).reused


def test_a_full_disk_fails_the_cell_with_its_reason_and_leaves_the_others_whole(tmp_path, monkeypatch):
    made = bench(tmp_path, "tasks=[ioi,lab_arc]", "limit=10")
    made.evaluate(made.grid.cells[0])
    before = outcomes(tmp_path)
    from harness import files

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        made.evaluate(made.grid.cells[1])
    monkeypatch.undo()
    assert outcomes(tmp_path) == before
    assert not list(tmp_path.rglob("*.tmp"))
    again = bench(tmp_path, "tasks=[ioi,lab_arc]", "limit=10")
    assert again.evaluate(again.grid.cells[1]).result.n == 10
