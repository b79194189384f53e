"""Writing so that nothing is ever half there: not after an error, a killed process or a power cut.

What is written stands beside its final name first, is flushed to the disk and then renamed, which is one step of the
file system. A killed process leaves at most hidden leftovers behind. ``clear_leftovers`` removes them from a run's
folder; beside a single folder they are gone when the next process begins to write that folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gtr_envs.errors import OutputExistsError

MANIFEST = "manifest.json"
"""The file that lists a folder's other files with their sizes and digests."""

LOCK = ".lock"
"""The file by which a process keeps others out of a folder, see ``run_lock.py``; it counts for nothing."""

_FREE_TO_CHANGE = (MANIFEST, "README.md")  # people write into model cards
_LEFTOVERS = (".*.partial-*", ".*.dropped-*")


def check_free(out: Path) -> None:
    """Make sure that nothing would be overwritten.

    Raises:
        OutputExistsError: the path is a file, or a folder that holds something.
    """
    if out.is_file() or (out.is_dir() and any(path.name != LOCK for path in out.iterdir())):
        raise OutputExistsError(f"{out} already holds something; choose another --out, or move it away first")


def sync(path: Path) -> None:
    """Wait until a file's contents, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until all that a folder holds is on the disk."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place, name))
        sync(Path(place))


@contextmanager
def new_folder(out: Path, before_naming: Callable[[], object] | None = None) -> Iterator[Path]:
    """A folder to fill that appears under its name only when it is whole.

    Args:
        out: its name.
        before_naming: called when all is on the disk, right before the folder gets its name.

    Yields:
        a folder beside ``out``, which is moved there at the end, and removed if anything goes wrong.
    """
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_dead_partials(out)
    partial = out.parent / f"{_partial_start(out)}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        sync_tree(partial)  # else a power cut could leave the name without the contents
        if before_naming is not None:
            before_naming()
        if out.is_dir():
            (out / LOCK).unlink(missing_ok=True)
            out.rmdir()
        partial.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial_start(out: Path) -> str:
    """What a folder is called while it is filled, but for the process's number.

    The machine's name is in it: another one's processes on a shared file system may live, whatever is known here.
    """
    return f".{out.name}.partial-{socket.gethostname()}-"


def _clear_dead_partials(out: Path) -> None:
    """Remove what killed processes of this machine left of a folder that they were filling."""
    start = _partial_start(out)
    for path in out.parent.iterdir():
        number = path.name.removeprefix(start)
        if path.name.startswith(start) and number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is never half there: it loses its name first. One that is not there is no error."""
    aside = folder.with_name(f".{folder.name}.dropped-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside)


def clear_leftovers(folder: Path) -> list[str]:
    """Remove what killed processes left of files and folders that they were writing or removing there.

    Only for a folder that no other process is writing to.

    Returns:
        the names that are gone, sorted.
    """
    found = sorted({path for pattern in _LEFTOVERS for path in folder.glob(pattern)})
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return [path.name for path in found]


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; one of that name is replaced."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def write_manifest(folder: Path) -> None:
    """List a folder's files with their sizes and SHA-256 digests in ``manifest.json``; the model card is left out."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listed = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)}
        for name in names
        if name not in _FREE_TO_CHANGE
    }
    write_json(folder / MANIFEST, {"files": listed})


def find_damage(folder: Path) -> str | None:
    """What keeps a folder from being as its manifest says, in words with the file's path; None if nothing does."""
    path = folder / MANIFEST
    if not path.is_file():
        return f"{path} is missing"
    try:
        listed = {
            str(name): (int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in json.loads(path.read_text("utf-8"))["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{path} is damaged ({type(error).__name__})"
    for name, (size, _) in listed.items():  # sizes first: that is quick
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if (found := (folder / name).stat().st_size) != size:
            return f"{folder / name} is damaged: {found} bytes instead of {size}"
    for name, (_, digest) in listed.items():
        if _digest(folder / name) != digest:
            return f"{folder / name} is damaged: its contents have changed"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
