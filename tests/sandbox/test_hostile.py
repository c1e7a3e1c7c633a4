# ruff: noqa: E501
"""Programs bent on passing, breaking out or spoiling the next one's grade: contained, failed, and gone."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from sandbox.test_sandbox import sandbox

import harness

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
    "end of input raised on purpose": "def double(x):\n    raise EOFError",
    "a broken pipe raised on purpose": "def double(x):\n    raise BrokenPipeError",
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
    return [line for line in listed.splitlines() if "class Channel" in line or "bwrap --" in line or "77777" in line]


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


@pytest.mark.parametrize("error", ["EOFError", "BrokenPipeError", "StopIteration", "input()"])
def test_errors_of_a_function_are_its_own(error, error_box):
    """They fail the test at once: only the end of the process is the end of the channel."""
    body = f"return {error}" if "(" in error else f"raise {error}"
    done = error_box.run(f"def double(x):\n    {body}", "assert all(map(double, [1]))")
    assert (done.verdict, done.seconds < 4) == ("failed", True), done.output


def test_keyring_of_the_caller_is_out_of_reach(error_box):
    """Tokens and tickets may lie in it; the key is there for the caller, and not for a program."""
    libc, search = ctypes.CDLL(None, use_errno=True), "syscall(250, 10, -3, b'user', b'harness-test', 0)"
    if platform.machine() != "x86_64" or libc.syscall(248, b"user", b"harness-test", b"x", 1, -3) < 0:
        pytest.skip("no keyrings here")
    assert libc.syscall(250, 10, -3, b"user", b"harness-test", 0) > 0
    program = f"import ctypes\ndef double(x):\n    return 4 if ctypes.CDLL(None).{search} > 0 else 0"
    assert error_box.run(program, "assert double(2) == 0").passed


@pytest.fixture(scope="module")
def error_box():
    return sandbox("bubblewrap", seconds=5.0)


def test_what_was_printed_before_an_error_is_kept(error_box):
    done = error_box.run("print('so far')\ndef double(x):\n    print('and here')\n    raise KeyError", "double(1)")
    assert "so far" in done.output
    assert "and here" in done.output


def test_closed_output_is_no_mistake(error_box):
    assert error_box.run(
        "import sys\nsys.stdout.close()\ndef double(x):\n    return 2 * x", "assert double(2) == 4"
    ).passed


def test_shared_memory_works_and_is_bounded(error_box):
    good = "from multiprocessing import Pool\ndef double(x):\n    with Pool(2) as p:\n        return sum(p.map(abs, [x, -x]))"
    assert error_box.run(good, "assert double(3) == 6").passed
    flood = "def double(x):\n    open('/dev/shm/f', 'wb').write(b'0' * (80 << 20))\n    return 2 * x"
    assert not sandbox("bubblewrap", seconds=5.0, file_mb=512).run(flood, "assert double(3) == 6").passed


OTHER = r"""
import sys
sys.path.insert(0, sys.argv[1])
from harness.sandbox.bubblewrap import BubblewrapSandbox
from harness.sandbox.limits import Limits
box = BubblewrapSandbox(Limits(seconds=2.0))
tests = "assert double(2) == 4"
good = "def double(x):\n    return x + x"
attack = '''
import ctypes
def double(x):
    assert ctypes.CDLL(None, use_errno=True).ptrace(16, 1, 0, 0) == 0, "refused"
    return x + x
'''
child = "import os, time\ndef double(x):\n    os.fork()\n    time.sleep(77777)"
print(*(box.run(program, tests).verdict for program in (good, attack, child)))
"""


def test_an_ordinary_user_is_as_safe(tmp_path):
    """Without root the program has the user of the sandbox's first process: it must not reach it."""
    python = "/usr/bin/python3"
    if os.geteuid() or not Path(python).exists() or sys.version_info[:2] != _version(python):
        pytest.skip("needs root, to become someone else, and the system's Python of this version")
    copy = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        ignored = shutil.ignore_patterns("__pycache__", "models")
        shutil.copytree(Path(harness.__file__).parent, copy / "harness", ignore=ignored)
        copy.chmod(0o755)
        command = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", python, "-c", OTHER, str(copy)]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={"PATH": "/usr/bin:/bin"})
    finally:
        shutil.rmtree(copy)
    if "cannot make namespaces" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout.split() == ["passed", "failed", "timeout"], done.stdout + done.stderr
    time.sleep(0.3)
    assert not [line for line in strays() if "class Channel" in line]


def _version(python):
    text = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True)
    return tuple(map(int, text.stdout.split()))
