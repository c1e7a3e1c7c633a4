# ruff: noqa: E501
"""One list of checks for every sandbox, then what only isolation gives."""

import time
import warnings

import pytest

from harness.sandbox import Limits, open_sandbox, why_missing

KINDS = ["bubblewrap", "process"]


def sandbox(kind, **limits):
    if kind == "bubblewrap" and (reason := why_missing()):
        pytest.skip(reason)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_sandbox(kind, Limits(**{"seconds": 5.0, **limits}))


@pytest.mark.parametrize("kind", KINDS)
class TestEverySandbox:
    @pytest.mark.parametrize(
        ("program", "verdict"),
        [
            ("x = 1", "passed"),
            ("assert 1 == 2", "failed"),
            ("import sys; sys.exit(0)", "failed"),
            ("import os; os._exit(0)", "failed"),
            ("raise SystemExit", "failed"),
            ("def broken(:", "failed"),
            ("import os; os.kill(os.getpid(), 9)", "killed"),
            ("x = bytearray(4 << 30)", "memory"),
            ("open('f', 'wb').write(b'x' * (20 << 20))", "failed"),
            ("print('<<finished 0>>'); assert 0", "failed"),
        ],
    )
    def test_verdict(self, kind, program, verdict):
        assert sandbox(kind).run(program).verdict == verdict

    def test_time_runs_out_also_for_one_that_ignores_signals(self, kind):
        program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)"
        started = time.monotonic()
        assert sandbox(kind, seconds=1.0).run(program).verdict == "timeout"
        assert time.monotonic() - started < 4

    def test_a_flood_of_output_is_cut_and_its_end_kept(self, kind):
        result = sandbox(kind, output_kb=4).run("for i in range(300000): print(i)\nprint('the end')")
        assert result.passed
        assert len(result.output) <= 4096
        assert result.output.rstrip().endswith("the end")

    def test_children_do_not_outlive_it(self, kind, tmp_path):
        program = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'])"
        started = time.monotonic()
        sandbox(kind, seconds=3.0).run(program)
        assert time.monotonic() - started < 6

    def test_no_environment_is_handed_down(self, kind, monkeypatch):
        monkeypatch.setenv("A_SECRET", "x")
        assert sandbox(kind).run("import os; assert 'A_SECRET' not in os.environ").passed


class TestIsolation:
    def test_no_network(self):
        names = sandbox("bubblewrap").run("import socket; assert [n for _, n in socket.if_nameindex()] == ['lo']")
        assert names.passed, names.output

    @pytest.mark.parametrize("path", ["/etc/x", "/usr/x", "/x", "/proc/sys/kernel/hostname"])
    def test_system_cannot_be_written(self, path):
        assert sandbox("bubblewrap").run(f"open({path!r}, 'w').write('x')").verdict == "failed"

    def test_users_files_are_not_there(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_text("x")
        assert "FileNotFoundError" in sandbox("bubblewrap").run(f"open({str(secret)!r})").output

    def test_temporary_folder_is_private_and_fresh(self):
        box = sandbox("bubblewrap")
        assert box.run("open('/tmp/f', 'w').write('x')").passed
        assert box.run("import os; assert not os.path.exists('/tmp/f')").passed

    def test_processes_are_limited(self):
        fork = "    if os.fork() == 0:\n        time.sleep(20); os._exit(0)"
        program = f"import os, time\nfor i in range(100):\n{fork}\nprint('all')"
        result = sandbox("bubblewrap", processes=20).run(program)
        assert not result.passed
        assert "Resource temporarily unavailable" in result.output

    def test_other_processes_are_not_seen(self):
        program = "import os\nassert len([d for d in os.listdir('/proc') if d.isdigit()]) < 6"
        assert sandbox("bubblewrap").run(program).passed


def test_process_warns():
    with pytest.warns(UserWarning, match="isolates nothing"):
        open_sandbox("process", Limits())


def test_missing_bubblewrap_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("harness.sandbox.why_missing", lambda: "gone")
    monkeypatch.setattr("harness.sandbox.bubblewrap.why_missing", lambda: "gone")
    with pytest.raises(ValueError, match=r"gone.*sandbox=process"):
        open_sandbox("bubblewrap", Limits())
    with pytest.raises(ValueError, match="gone"):
        open_sandbox("auto", Limits())
    with pytest.warns(UserWarning):
        assert open_sandbox("auto", Limits(), trusted=True).name == "process"
    with pytest.raises(ValueError, match="expected auto"):
        open_sandbox("docker", Limits())


class TestCalls:
    """Program and tests talk by plain data; what they see is what one interpreter would show."""

    @pytest.mark.parametrize(
        ("program", "tests"),
        [
            ("def f(x): return x", "for v in (None, True, 3, -0.5, 'ä\\ud800', 10 ** 5000): assert f(v) == v and type(f(v)) is type(v)"),
            ("def f(x): return x", "for v in ((1, (2,)), [1, [2]], {1, 2}, frozenset('a'), {(1, 2): [3]}, b'x', 1j, range(3)): assert f(v) == v and type(f(v)) is type(v)"),
            ("def f(x): return float(x)", "import math\nassert math.isnan(f('nan')) and f('inf') == math.inf and math.copysign(1, f('-0.0')) == -1"),
            ("def f(n): yield from range(n)", "assert list(f(3)) == [0, 1, 2]"),
            ("def f(): return map(str, [1, 2])", "assert list(f()) == ['1', '2']"),
            ("class P:\n    def __init__(self, a): self.a = a\ndef f(ps): return sum(p.a for p in ps)", "assert f([P(1), P(2)]) == 3 and P(4).a == 4"),
            ("class N:\n    def __init__(self): self.next = None\ndef f(n): return n.next.next is None", "a, b = N(), N()\na.next = b\nassert f(a)"),
            ("def f(g, x): return g(x) + 1", "assert f(lambda v: v * 10, 2) == 21"),
            ("def f(): raise KeyError('k')", "try:\n    f()\nexcept KeyError:\n    pass\nelse:\n    assert 0"),
            ("class Own(Exception): pass\ndef f(): raise Own('o')", "try:\n    f()\nexcept RuntimeError as e:\n    assert 'o' in str(e)"),
            ("def sum(a, b): return a * b", "assert sum(2, 5) == 10"),
            ("import math\ndef f(x): return x", "assert math.floor(f(1.5)) == 1"),
            ("K = 3\ndef f(): return K", "assert f() == K"),
            ("from collections import Counter\ndef f(s): return Counter(s)", "assert f('aab') == {'a': 2, 'b': 1}"),
            ("def f(*a, k=1): return a, k", "assert f(1, 2, k=3) == ((1, 2), 3)"),
            ("def f(): return 1", "print('a test may print')\nassert f() == 1"),
            ("print('noise')\ndef f(): print('more'); return 1", "assert f() == 1"),
        ],
    )  # fmt: skip
    def test_as_in_one_interpreter(self, program, tests):
        box = sandbox("process")
        result = box.run(program, tests)
        assert result.passed, result.output

    def test_what_failed_is_said(self):
        result = sandbox("process").run("def f(): return undefined", "assert f() == 2")
        assert "NameError" in result.output
