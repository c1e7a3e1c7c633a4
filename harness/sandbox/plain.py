"""Plain data between the two processes of a sandbox: messages, values, references to what stays behind.

Handed to an interpreter as text, before `harness.sandbox.inside`: it imports nothing of the project.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable
from typing import Any

MOST = 64 << 20  # bytes of a message
_PLAIN: dict[type, Callable[[Any], Any]] = {str: str.__str__, float: float.__float__, int: int.__int__, bool: bool}
_SEVERAL = ("tuple", "set", "frozenset", "list")


class ClosedError(Exception):
    """The other side has ended: no exception that a program could raise in its name."""


class Channel:
    """Messages over two pipes; each has its length in front."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = os.fdopen(source, "rb"), os.fdopen(target, "wb")

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message."""
        raw = json.dumps(message).encode()
        try:
            self._target.write(_checked(len(raw)).to_bytes(4, "big") + raw)
            self._target.flush()
        except BrokenPipeError:
            raise ClosedError from None

    def receive(self) -> dict[str, Any]:
        """Waits for a message."""
        return json.loads(self._exactly(_checked(int.from_bytes(self._exactly(4), "big"))))

    def _exactly(self, n: int) -> bytes:
        raw = self._source.read(n)
        if len(raw) < n:
            raise ClosedError
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


class Remote:
    """Something that the other side keeps: it can be called, and its attributes read and set."""

    def __init__(self, side: Any, number: int) -> None:
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
