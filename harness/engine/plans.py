"""What can be worked out once for a set of requests, and used for every variant of a base."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
KEPT = 64


class Plans:
    """Tokens and trees of earlier requests, by the requests' own text.

    They hold nothing that depends on weights, so a patch that goes in or out leaves them true. They do
    depend on the tokenizer: one `Plans` belongs to one base.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._plans: OrderedDict[Hashable, Any] = OrderedDict()
        self.made = 0

    def get(self, kind: Hashable, texts: Iterable[Iterable[str]], make: Callable[[], T]) -> T:
        """The plan for these texts, made at the first call.

        Args:
            kind: what else it depends on.
            texts: the texts of each request.
            make: makes it.
        """
        key = (kind, _digest(texts))
        if key not in self._plans:
            self._plans[key] = make()
            self.made += 1
            if len(self._plans) > self._kept:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return self._plans[key]


def _digest(texts: Iterable[Iterable[str]]) -> bytes:
    digest = hashlib.blake2b()
    for request in texts:
        for text in request:
            raw = text.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
        digest.update(b"\xff" * 8)
    return digest.digest()
