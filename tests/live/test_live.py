"""The live view: what it says of a journal, and when it speaks at all."""

import io
import json

import pytest
from rich.console import Console

from harness.evaluation.journal import Entry, Journal
from harness.live import LiveView, clock, is_wanted, main, progress_of, render


def running(cell, worker, documents, time, device="cpu"):
    return Entry(cell, "running", json.dumps([worker, device, documents]), time)


def part(cell, worker, documents, time):
    return Entry(cell, "part", json.dumps([worker, "cpu", documents]), time)


GRID = Entry("", "grid", json.dumps({"a": 10.0, "b": 20.0, "c": 30.0, "d": 40.0}), 0.0)


def test_what_runs_where_and_how_fast():
    entries = [
        GRID,
        running("a", "gw0", 100, 10.0),
        running("b", "gw1", 200, 11.0, "cuda 1"),
        part("a", "gw0", 100, 15.0),
    ]
    p = progress_of([*entries, Entry("a", "done", "", 15.5), running("c", "gw0", 50, 16.0)], 20.0)
    assert (p.done, p.failed, p.total) == (1, 0, 4)
    assert [(r.cell, r.worker, r.device, r.since) for r in p.running] == [
        ("b", "gw1", "cuda 1", 9.0),
        ("c", "gw0", "cpu", 4.0),
    ]
    assert p.rate == pytest.approx(100 / 10)
    # Ten seconds' worth took ten: ninety are left.
    assert p.left == pytest.approx(90 * 10 / 10)


def test_before_anything_is_known():
    p = progress_of([GRID, running("a", "gw0", 100, 10.0)], 20.0)
    assert (p.rate, p.left) == (None, None)
    assert progress_of([], 0.0).total == 0


def test_stored_cells_take_no_time():
    p = progress_of([GRID, Entry("a", "done"), Entry("b", "done"), running("c", "gw0", 5, 10.0)], 12.0)
    assert (p.done, p.left) == (2, None)


def test_failures_count_and_one_dead_worker_is_no_failure():
    entries = [GRID, running("a", "gw0", 5, 1.0), Entry("a", "died", "x", 2.0)]
    assert progress_of(entries, 3.0).failed == 0
    assert progress_of([*entries, Entry("a", "died", "x", 4.0)], 5.0).failed == 1
    p = progress_of([GRID, running("b", "gw0", 5, 1.0), Entry("b", "failed", "x", 2.0)], 3.0)
    assert (p.failed, p.running) == (1, ())


def test_the_rate_stands_still_when_nothing_runs():
    entries = [GRID, running("a", "gw0", 100, 10.0), part("a", "gw0", 100, 20.0)]
    assert progress_of(entries, 20.0).rate == progress_of(entries, 500.0).rate == pytest.approx(10.0)


def test_lines_that_say_nothing_are_passed_over():
    odd = [Entry("", "grid", "{"), Entry("a", "running", "1"), Entry("a", "part", "[]")]
    assert progress_of([*odd, GRID], 1.0).total == 4


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03"), (-4, "0:00")])
def test_times(seconds, text):
    assert clock(seconds) == text


def shown(progress):
    console = Console(file=io.StringIO(), width=120)
    console.print(render(progress))
    return console.file.getvalue()


def test_what_a_person_reads():
    entries = [GRID, running("a", "gw0", 1000, 10.0), part("a", "gw0", 1000, 15.0), Entry("a", "done", "", 15.5)]
    text = shown(progress_of([*entries, running("b", "gw1", 1200, 16.0, "cuda 3")], 20.0))
    assert "1 of 4 cells · 100.0 documents/s · about 1:30 left" in text
    assert "gw1  cuda 3  b  1,200 documents  0:04" in text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("asked", "stream", "environment", "wanted"), [
    (None, Terminal(), {"TERM": "xterm"}, True),
    (None, Terminal(), {"TERM": "xterm", "CI": "true"}, False),
    (None, Terminal(), {"TERM": "dumb"}, False),
    (None, io.StringIO(), {"TERM": "xterm"}, False),
    (True, io.StringIO(), {"CI": "true"}, True),
    (False, Terminal(), {"TERM": "xterm"}, False),
])  # fmt: skip
def test_it_speaks_where_a_person_watches(asked, stream, environment, wanted):
    assert is_wanted(asked, stream, environment) is wanted


def test_it_shows_what_the_journal_gets(tmp_path):
    journal, terminal = Journal(tmp_path, "s"), Terminal()
    view = LiveView(journal, {"a": 1.0, "b": 2.0}, terminal)
    view.start()
    journal.note("a", "running", json.dumps(["gw0", "cuda 0", 7]))
    view._live.refresh()
    view.stop()
    view.stop()
    assert "0 of 2 cells" in terminal.getvalue()
    assert "cuda 0" in terminal.getvalue()


def test_nothing_to_watch(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    assert f"nothing runs in {tmp_path}" in capsys.readouterr().err
    assert main([]) == 2
