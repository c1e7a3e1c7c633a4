# ruff: noqa: E501
"""Programs bent on passing, breaking out or spoiling the next one's grade: contained, failed, and gone."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from sandbox.test_sandbox import sandbox

pytestmark = pytest.mark.slow
TESTS = """
import math
def check(candidate):
    assert candidate(2) == 4
    assert abs(candidate(1.5) - 3.0) < 1e-9
    assert len(candidate([1])) == 2
    assert math.fabs(candidate(-1) + 2) < 1e-9
check(double)
"""
GOOD = "def double(x):\n    return x + x\n"

HOSTILE = {
    # Eating up the machine.
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "fork bomb of threads": "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
    "memory bomb": "x = []\nwhile True:\n    x.append(bytearray(1 << 24))",
    "memory bomb in a call": "def double(x):\n    return [0] * (1 << 40)",
    "infinite loop": "while True: pass",
    "infinite loop in a call": "def double(x):\n    while True: pass",
    "endless output": "while True: print('x' * 65536)",
    "endless answer": "import itertools\ndef double(x):\n    return itertools.count()",
    "deep recursion": "def double(x):\n    return double(x)",
    "deep answer": "def double(x):\n    out = []\n    for _ in range(100000): out = [out]\n    return out",
    "huge file": "f = open('big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))",
    "many files": "import itertools\nfor i in itertools.count(): open(f'f{i}', 'w').write('x' * 4096)",
    "long file names": "import os\nfor i in range(10000): os.mkdir('d' * 250); os.chdir('d' * 250)\nassert 0",
    "waiting for input": "input()",
    "sleeping": "import time\ntime.sleep(10 ** 6)",
    # Reaching out.
    "network": "import socket\nsocket.create_connection(('1.1.1.1', 53), timeout=3)",
    "local network": "import socket\nsocket.create_connection(('127.0.0.1', 22), timeout=3)",
    "reading the home folder": "import os\nassert os.listdir(HOME) and open(SECRET).read()\n" + GOOD,
    "reading the environment": "import os\nassert 'HARNESS_A_TOKEN' in os.environ\n" + GOOD,
    "environment of the parent": "print(open('/proc/1/environ').read() or 1 / 0)\nassert 'HARNESS_A_TOKEN' in open('/proc/1/environ').read()\n"
    + GOOD,
    "writing outside": "open(OUTSIDE, 'w').write('x')\n" + GOOD,
    "deleting": "import os\nos.remove(SECRET)\n" + GOOD,
    "escaping by symlink": "import os\nos.symlink(SECRET, 'link')\nopen('link').read()\n" + GOOD,
    "killing the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n" + GOOD,
    "killing everyone": "import os, signal\nos.kill(-1, signal.SIGKILL)\n" + GOOD,
    "stopping the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\n" + GOOD,
    "unkillable child": (
        "import os, signal, time\nif os.fork() == 0:\n    os.setsid()\n"
        "    if os.fork() == 0:\n        for s in range(1, 65):\n            try: signal.signal(s, signal.SIG_IGN)\n"
        "            except (OSError, ValueError): pass\n        time.sleep(77777)\n    os._exit(0)\nassert 0"
    ),
    "ignoring signals": (
        "import signal, time\nfor s in (1, 2, 3, 15, 14):\n    signal.signal(s, signal.SIG_IGN)\ntime.sleep(1000)"
    ),
    "alarm": "import signal\nsignal.alarm(1)\nwhile True: pass",
    # Claiming success.
    "leaving early": "import sys\nsys.exit(0)",
    "leaving at once": "import os\nos._exit(0)",
    "leaving in a call": "import os\ndef double(x):\n    os._exit(0)",
    "leaving at the end": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit",
    "saying that it passed": "print('all tests passed')\nprint('<<finished>>')\nimport sys\nsys.exit(0)",
    "a fake report": "import os\nos.write(1, b'x' * 64)\nos.write(2, b'passed')\nos._exit(0)",
    "answers that equal everything": "class E:\n    def __eq__(s, o): return True\ndef double(x):\n    return E()",
    "a number that equals everything": (
        "class E(float):\n    def __eq__(s, o): return True\n    def __sub__(s, o): return 0.0\n"
        "    def __add__(s, o): return 0.0\n    def __len__(s): return 2\n    __hash__ = float.__hash__\n"
        "def double(x):\n    return E(5)"
    ),
    "its own builtins": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.len = lambda x: 2\ndef double(x):\n    return 4",
    "shadowed builtins": "abs = lambda x: 0\nlen = lambda x: 2\ndef double(x):\n    return 4",
    "shadowed modules": (
        "class math:\n    fabs = staticmethod(lambda x: 0)\nabs = math.fabs\nlen = lambda x: 2\n"
        "def double(x):\n    return 4"
    ),
    "its own check": "def check(candidate): pass\ndef double(x):\n    return 5",
    "tests from the caller's frame": (
        "import sys\ndef double(x):\n    f = sys._getframe()\n    while f.f_back: f = f.f_back\n"
        "    f.f_globals['check'] = lambda c: None\n    return 5"
    ),
    "tests from the heap": (
        "import gc, types\ndef double(x):\n    for f in gc.get_objects():\n"
        "        if isinstance(f, types.FunctionType) and f.__name__ in ('check', 'ask', 'answer'):\n"
        "            f.__code__ = (lambda *a, **k: None).__code__\n    return 5"
    ),
    "assertions switched off": "import sys, ctypes\nctypes.c_int.in_dll(ctypes.pythonapi, 'Py_OptimizeFlag').value = 2\ndef double(x):\n    return 5",
    "reading the checker's memory": (
        "import os\ndef double(x):\n    p = os.getppid()\n    open(f'/proc/{p}/mem', 'rb').read(1)\n"
        "    return x + x"
    ),
    "tracing the checker": (
        "import ctypes, os\ndef double(x):\n    assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0, 'refused'\n"
        "    return x + x"
    ),
    "writing into every pipe": (
        "import os\ndef double(x):\n    for fd in range(1, 64):\n        try: os.write(fd, b'0' * 64)\n"
        "        except OSError: pass\n    os._exit(0)"
    ),
    "import-time tricks": (
        "import sys\nclass F:\n    def find_spec(s, *a): sys.exit(0)\nsys.meta_path.insert(0, F())\nimport colorsys\n"
    ),
    "code in a pickled answer": (
        "import os\nclass P:\n    def __reduce__(s): return (os._exit, (0,))\ndef double(x):\n    return P()"
    ),
}  # fmt: skip


def test_there_are_enough():
    assert len(HOSTILE) >= 30


@pytest.fixture(scope="module")
def box():
    return sandbox("bubblewrap", seconds=1.5)


def strays():
    """Processes that belong to a sandbox, by what was started in them."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if " solver " in line or "bwrap --" in line or "77777" in line]


@pytest.mark.parametrize("name", HOSTILE)
def test_is_contained_failed_and_gone(name, box, tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_A_TOKEN", "x")
    secret, outside = tmp_path / "secret", tmp_path / "outside"
    secret.write_text("x")
    program = HOSTILE[name]
    for place, path in (("HOME", Path.home()), ("SECRET", secret), ("OUTSIDE", outside)):
        program = program.replace(place, repr(str(path)))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    started = time.monotonic()
    result = box.run(program, TESTS)
    assert not result.passed, result.output
    assert time.monotonic() - started < 6
    assert len(result.output) <= 64 * 1024
    assert secret.read_text() == "x"
    assert not outside.exists()
    assert not list(folder.iterdir())
    # The next program is graded as if nothing had been.
    assert box.run(GOOD, TESTS).passed
    assert not box.run("def double(x):\n    return 5", TESTS).passed


def test_nothing_outlives_them(box):
    mine = os.getpid()
    box.run(HOSTILE["unkillable child"], TESTS)
    own = [line for line in strays() if "77777" in line]
    assert not own, (mine, own)
