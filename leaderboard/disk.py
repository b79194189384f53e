"""Writing results so that nothing is ever half there or lost, and errors of the system become one line."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gtr_envs.errors import OutputError, OutputExistsError

LOCK = ".lock"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into one line that says what to do.

    Raises:
        OutputError: the disk is full, the folder may not be written to, or a file stands where a folder should.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, (OutputError, OutputExistsError)):
            raise
        why = error.strerror or type(error).__name__
        raise OutputError(
            f"cannot write {path}: {why}; what was written before is whole: make room there or choose another place, "
            "and run the same command again"
        ) from error


def write_atomic(path: Path, text: str) -> None:
    """Write a file whole or not at all: beside its place first, then moved there.

    Lone surrogates, which a model may write as ``\\ud800`` in JSON, become question marks.

    Raises:
        OutputError: it cannot be written; what stood there stands there still.
    """
    write_bytes_atomic(path, text.encode("utf-8", errors="replace"))


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """As :func:`write_atomic`, for what is no text."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            beside.write_bytes(data)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add one line in one write, so that a killed process leaves whole lines but for the last.

    Raises:
        OutputError: it cannot be written; a part of it that was is taken away again.
    """
    data = line.encode("ascii") + b"\n"
    with writing(path), path.open("ab", buffering=0) as handle:
        before = handle.seek(0, os.SEEK_END)
        try:
            if handle.write(data) == len(data):
                return
            handle.write(data)  # no room for all of it: this one says why
            raise OSError("only a part could be written")
        except OSError:
            handle.truncate(before)
            raise


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON with NaN as null and nothing but ASCII, so that any text of a model can be written."""
    return json.dumps(_without_nan(value), indent=indent, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return value


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder against a second evaluation; the operating system lets go of it however this process ends.

    Raises:
        OutputExistsError: another process is writing there.
    """
    import fcntl

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / LOCK).open("w")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OutputExistsError(
                f"another process is evaluating into {folder}; wait for it or choose another --out"
            ) from error
        yield
