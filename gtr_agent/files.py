"""Writing so that nothing is ever half there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gtr_envs.errors import OutputExistsError


def check_free(out: Path) -> None:
    """Make sure that nothing would be overwritten.

    Raises:
        OutputExistsError: the path is a file, or a folder that holds something.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise OutputExistsError(f"{out} already holds something; choose another --out, or move it away first")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill that appears under its name only when it is whole.

    Yields:
        a folder beside ``out``, which is moved there at the end, and removed if anything goes wrong.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if out.is_dir():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
