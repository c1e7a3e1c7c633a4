"""What runs inside a sandbox: two processes, so that a program cannot touch what judges it.

The *checker* holds the tests and a secret. It starts the *solver*, which runs the program and answers
calls of its functions; what comes back is plain data, rebuilt by the checker. When all tests have run
without an exception the checker says the secret, which the solver's process has never held.

This file is handed to an interpreter as text, after `harness.sandbox.plain`.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
import types
from contextlib import suppress
from typing import Any

from harness.sandbox.plain import Channel, ClosedError, Remote, Values

_MODULES = {*sys.stdlib_module_names, "numpy"}


class Side:
    """One end of the channel: calls what the other side keeps, and answers its calls.

    Args:
        channel: to the other side.
        open: answer for attributes too, not only for calls. A test's function has globals to hide.
    """

    def __init__(self, channel: Channel, open: bool) -> None:
        self._channel, self._open = channel, open
        self.values = Values(lambda number: Remote(self, number))

    def ask(self, **request: Any) -> Any:
        """Sends a request and waits for its answer, answering what the other side asks meanwhile."""
        self._channel.send(request)
        while True:
            message = self._channel.receive()
            if "do" in message:
                self.answer(message)
            elif "error" in message:
                name, text = message["error"]
                kind = getattr(builtins, str(name), None)
                if isinstance(kind, type) and issubclass(kind, Exception) and kind is not StopIteration:
                    raise kind(str(text))
                raise RuntimeError(f"{name}: {text}")
            else:
                return self.values.unpack(message["value"])

    def answer(self, request: dict[str, Any]) -> None:
        """Does what the other side asks for."""
        try:
            target = self.values.kept[request["of"]]
            if request["do"] == "call":
                arguments = [self.values.unpack(a) for a in request["arguments"]]
                named = {k: self.values.unpack(v) for k, v in request["named"].items()}
                value = target(*arguments, **named)
            elif not self._open:
                raise AttributeError(request["name"])
            elif request["do"] == "set":
                setattr(target, request["name"], self.values.unpack(request["to"]))
                value = None
            else:
                value = getattr(target, request["name"])
            packed = self.values.pack(value)
            _flush()
            self._channel.send({"value": packed})
        except ClosedError:
            raise
        except BaseException as error:
            _flush()
            traceback.print_exc()
            self._channel.send({"error": [type(error).__name__, str(error)[:1000]]})


def check() -> int:
    """The checker: runs the tests against a solver; exit code 0 and the secret if they pass."""
    to_solver, to_checker = os.pipe(), os.pipe()
    # Forked before the job is read, for it knows what its parent knew; a new interpreter would take longer.
    if not (solver := os.fork()):
        os.close(to_solver[1])
        os.close(to_checker[0])
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        return solve(to_solver[0], to_checker[1])
    # Nobody of the same user may look into this process from now on.
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    job = json.loads(sys.stdin.buffer.read())
    for end in (to_solver[0], to_checker[1]):
        os.close(end)
    side = Side(Channel(to_checker[0], to_solver[1]), open=False)
    tell, sys.stdout = sys.stdout, sys.stderr  # what tests print must not mix with the secret
    try:
        tests = compile(job["tests"], "<tests>", "exec")
        exec(tests, _namespace(side.ask(program=job["program"]), names_in(ast.parse(job["tests"]))))
    except ClosedError:
        code, solver = _ended(solver), 0
        print(f"the program's process ended with {code}", file=sys.stderr)
        return 128 - code if code < 0 else 1
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        if solver:
            os.kill(solver, signal.SIGKILL)
    tell.write(job["secret"])
    tell.flush()
    return 0


def _ended(process: int) -> int:
    """Exit code of a process that has closed its channel; one that lives on is killed."""
    for _ in range(50):
        if (ended := os.waitpid(process, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def names_in(tree: ast.AST) -> set[str]:
    """Names that some code reads."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _namespace(defined: dict[str, Any], used: set[str]) -> dict[str, Any]:
    """What the tests see of a program: nothing that could stand in for what they judge with.

    A program's own ``abs`` or ``math`` would pass any test that looks at its answers through them. A
    builtin's name counts only where the tests use nothing else of the program (MBPP has a task ``sum``).
    """
    shadows = {name for name in defined if hasattr(builtins, name)}
    own = {name: value for name, value in defined.items() if name in used - shadows and name not in _MODULES}
    if not own:
        own = {name: defined[name] for name in shadows & used}
    for name in used & _MODULES & set(defined):
        own[name] = importlib.import_module(name)
    return {"__name__": "tests", **own}


def solve(source: int, target: int) -> int:
    """The solver: runs the program, names what it defines, and answers calls until the checker ends."""
    channel = Channel(source, target)
    side = Side(channel, open=True)
    program = channel.receive()["program"]
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(program, "<program>", "exec"), module.__dict__)
    except BaseException as error:
        _flush()
        traceback.print_exc()
        channel.send({"error": [type(error).__name__, str(error)[:1000]]})
        return 1
    _flush()
    names = [[k, _packed(side, v)] for k, v in module.__dict__.items() if not k.startswith("__")]
    channel.send({"value": {"is": "dict", "of": names}})
    while True:
        try:
            request = channel.receive()
        except ClosedError:
            return 0
        side.answer(request)


def _flush() -> None:
    """What a program printed goes out now, for its process will be killed; it may have closed its output."""
    with suppress(Exception):
        sys.stdout.flush()


def _packed(side: Side, value: Any) -> Any:
    """A global of the program; one that cannot be handed over is nothing."""
    if hasattr(type(value), "__next__") or isinstance(value, types.ModuleType):
        return None  # it may have no end; the checker has its own
    try:
        return side.values.pack(value)
    except Exception:
        return None


if __name__ == "__main__":
    sys.set_int_max_str_digits(0)
    sys.exit(check())
