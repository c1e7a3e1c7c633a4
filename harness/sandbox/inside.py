"""What runs inside a sandbox: two processes, so that a program cannot touch what judges it.

The *checker* holds the tests and a secret. It starts the *solver*, which runs the program and answers
calls of its functions; what comes back is plain data, rebuilt by the checker. When all tests have run
without an exception the checker says the secret, which the solver's process has never held.

This file is handed to an interpreter as text: it imports nothing of the project.
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
import traceback
import types
from collections.abc import Callable
from typing import Any

MOST = 64 << 20  # bytes of a message
_PLAIN: dict[type, Callable[[Any], Any]] = {str: str.__str__, float: float.__float__, int: int.__int__, bool: bool}
_SEVERAL = ("tuple", "set", "frozenset", "list")
_MODULES = {*sys.stdlib_module_names, "numpy"}


class Channel:
    """Messages over two pipes; each has its length in front."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = os.fdopen(source, "rb"), os.fdopen(target, "wb")

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message."""
        raw = json.dumps(message).encode()
        self._target.write(_checked(len(raw)).to_bytes(4, "big") + raw)
        self._target.flush()

    def receive(self) -> dict[str, Any]:
        """Waits for a message."""
        return json.loads(self._exactly(_checked(int.from_bytes(self._exactly(4), "big"))))

    def _exactly(self, n: int) -> bytes:
        raw = self._source.read(n)
        if len(raw) < n:
            raise EOFError("the other side has ended")
        return raw


def _checked(length: int) -> int:
    if length > MOST:
        raise ValueError(f"a value of {length} bytes is too large to hand over")
    return length


class Values:
    """Values as JSON and back; what is no plain data stays where it is and travels as a reference."""

    def __init__(self, foreign: Callable[[int], Any]) -> None:
        self.kept: list[Any] = []
        self._foreign = foreign

    def pack(self, value: Any) -> Any:
        """A value as JSON."""
        if value is None or type(value) in _PLAIN:
            return value
        if isinstance(value, Remote):
            return {"is": "mine", "of": value._number}  # it goes home
        if type(value) is list:
            return [self.pack(v) for v in value]
        # What is made from a plain kind counts as that kind, without whatever methods it adds.
        for kind, plainly in _PLAIN.items():
            if isinstance(value, kind):
                return plainly(value)
        for name in _SEVERAL:
            if isinstance(value, getattr(builtins, name)):
                return {"is": name, "of": [self.pack(v) for v in value]}
        if isinstance(value, dict):
            return {"is": "dict", "of": [[self.pack(k), self.pack(v)] for k, v in value.items()]}
        if isinstance(value, (bytes, bytearray)):
            return {"is": type(value).__name__, "of": bytes(value).hex()}
        if isinstance(value, complex):
            return {"is": "complex", "of": [value.real, value.imag]}
        if isinstance(value, range):
            return {"is": "range", "of": [value.start, value.stop, value.step]}
        if hasattr(type(value), "__next__"):
            return {"is": "iterator", "of": [self.pack(v) for v in value]}
        self.kept.append(value)
        return {"is": "reference", "of": len(self.kept) - 1}

    def unpack(self, data: Any) -> Any:
        """The value of some JSON; it may come from a program, so only plain data are made of it."""
        if not isinstance(data, (list, dict)):
            return data
        if isinstance(data, list):
            return [self.unpack(v) for v in data]
        kind, of = data["is"], data["of"]
        if kind in _SEVERAL:
            return getattr(builtins, kind)(self.unpack(v) for v in of)
        if kind == "iterator":
            return iter([self.unpack(v) for v in of])
        if kind == "dict":
            return {self.unpack(k): self.unpack(v) for k, v in of}
        if kind in ("bytes", "bytearray"):
            return getattr(builtins, kind).fromhex(of)
        if kind in ("complex", "range"):
            return getattr(builtins, kind)(*of)
        if kind == "mine":
            return self.kept[of]
        return self._foreign(of)


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
                if isinstance(kind, type) and issubclass(kind, Exception):
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
            sys.stdout.flush()
            self._channel.send({"value": packed})
        except BaseException as error:
            traceback.print_exc()
            self._channel.send({"error": [type(error).__name__, str(error)[:1000]]})


class Remote:
    """Something that the other side keeps: it can be called, and its attributes read and set."""

    def __init__(self, side: Side, number: int) -> None:
        self.__dict__.update(_side=side, _number=number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Calls it there."""
        packed = [self._side.values.pack(a) for a in arguments]
        kept = {k: self._side.values.pack(v) for k, v in named.items()}
        return self._side.ask(do="call", of=self._number, arguments=packed, named=kept)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._side.ask(do="get", of=self._number, name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._side.ask(do="set", of=self._number, name=name, to=self._side.values.pack(value))


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
    except (EOFError, BrokenPipeError):
        code, solver = os.waitstatus_to_exitcode(os.waitpid(solver, 0)[1]), 0
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
        traceback.print_exc()
        channel.send({"error": [type(error).__name__, str(error)[:1000]]})
        return 1
    sys.stdout.flush()  # the process will be killed, not ended
    names = [[k, _packed(side, v)] for k, v in module.__dict__.items() if not k.startswith("__")]
    channel.send({"value": {"is": "dict", "of": names}})
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return 0
        side.answer(request)


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
