"""Reading a text, and writing a file so that a reader sees the old one or the new one, never a part.

What is written goes to a temporary file in the same folder, is synced, and takes the name by a rename;
the folder is synced after it. On any exception, Ctrl-C included, the temporary file is removed and
the old file stands. The price is two syncs a file.
"""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIOWrapper]:
    """A text file that appears under its name only when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk is said of no file
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_text(path: Path) -> str:
    """The text of a file, gzipped or not; a byte order mark is no part of it.

    Raises:
        ValueError: if it cannot be read.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return raw.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole binary file atomically."""
    with atomic_write(path) as file:
        file.buffer.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a whole file atomically."""
    with atomic_write(path) as file:
        file.write(text)
