"""Files and folders that are never half there: not after an error, a killed process or a power cut.

What is written stands beside its final name first and is then renamed, which is one step of the file system. A killed
process leaves at most hidden leftovers. ``clear_leftovers`` removes them from a run's folder, ``prune`` in time from a
cache's; beside a folder of ``new_folder`` they are gone when the next process begins to write that folder.

Only what is appended to, cut or locked is opened by its own name, and none of that may be a symbolic link: a folder
from a stranger would otherwise choose which file is written to.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from gtr_envs.errors import GtrError, OutputError, OutputExistsError, RunBusyError

MANIFEST = "manifest.json"
"""The file that lists a folder's other files with their sizes and digests."""

LOCK = ".lock"
"""The file by which a process keeps others out of a folder, see :func:`locked`; it counts for nothing."""

_FREE_TO_CHANGE = (MANIFEST, "README.md")  # people write into model cards
_LEFTOVERS = (".*.partial-*", ".*.dropped-*")
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into one line that says what to do.

    Raises:
        OutputError: the disk is full, the folder may not be written to, or a file stands where a folder should.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, GtrError):
            raise
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror or type(error).__name__
        raise OutputError(
            f"cannot write {path}: {why}; what was written before is whole: make room there or choose another place, "
            "and run the same command again"
        ) from error


def write_atomic(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file whole or not at all; one of that name is replaced, and folders above it that are missing are made.

    Args:
        path: the file.
        content: bytes, or a text. Lone surrogates in a text, which a model may write as ``\\ud800`` in JSON, become
            question marks.
        durable: whether to wait until it is on the disk, so that a power cut cannot take it back.

    Raises:
        OutputError: it cannot be written; what stood there stands there still.
    """
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `tempfile`, whose files only their owner can read: this gets the mode that the user's umask says.
        partial = path.with_name(f".{path.name}.partial-{os.urandom(6).hex()}")
        try:
            with partial.open("xb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        if durable:
            sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people to read, durably. Lone surrogates become JSON's escapes, and so are read back unchanged."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, text.encode("utf-8", errors="backslashreplace"), durable=True)


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


def append_line(path: Path, line: str) -> None:
    """Add one line in one write, so that a killed process leaves whole lines but for the last.

    Raises:
        OutputError: it cannot be written, and a part of it that was is taken away again; or it is a symbolic link.
    """
    data = line.encode("ascii") + b"\n"
    with writing(path), open(path, "ab", buffering=0, opener=_no_link) as handle:
        before = handle.seek(0, os.SEEK_END)
        try:
            if handle.write(data) == len(data):
                return
            handle.write(data)  # no room for all of it: this one says why
            raise OSError("only a part could be written")
        except OSError:
            handle.truncate(before)
            raise


def truncate(path: Path, size: int) -> None:
    """Cut a file to its first ``size`` bytes.

    Raises:
        OutputError: it may not be written to, or it is a symbolic link.
    """
    with writing(path), open(path, "r+b", opener=_no_link) as handle:
        handle.truncate(size)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def sync(path: Path) -> None:
    """Wait until a file's contents, or a folder's list of names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_free(out: Path) -> None:
    """Make sure that nothing would be overwritten.

    Raises:
        OutputExistsError: the path is a file, a symbolic link, or a folder that holds something.
    """
    if out.is_symlink():  # what is renamed into its place or removed would be the link
        raise OutputExistsError(f"{out} is a symbolic link; name the folder that it leads to as --out")
    if out.is_file() or (out.is_dir() and any(path.name != LOCK for path in out.iterdir())):
        raise OutputExistsError(f"{out} already holds something; choose another --out, or move it away first")


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
    # The machine's name is in it: another one's processes on a shared file system may live, whatever is known here.
    start = f".{out.name}.partial-{socket.gethostname()}-"
    for path in out.parent.iterdir():  # what killed processes of this machine left
        number = path.name.removeprefix(start)
        if path.name.startswith(start) and number.isdecimal() and not _lives(int(number)):
            shutil.rmtree(path, ignore_errors=True)
    partial = out.parent / f"{start}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        for place, _, names in os.walk(partial):  # else a power cut could leave the name without the contents
            for name in names:
                sync(Path(place, name))
            sync(Path(place))
        if before_naming is not None:
            before_naming()
        if out.is_dir():
            (out / LOCK).unlink(missing_ok=True)
            out.rmdir()
        partial.rename(out)
        sync(out.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (OSError, OverflowError) as error:  # but for the first, another user's, or no number of a process
        return not isinstance(error, ProcessLookupError)
    return True


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is never half there: it loses its name first. One that is not there is no error."""
    aside = folder.with_name(f".{folder.name}.dropped-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(aside)
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


def prune(folder: Path, most: int) -> None:
    """Delete the files of a cache that were not used for longest until it holds at most so many bytes.

    What cannot be deleted, as a folder or another user's file, stays.
    """
    entries = []
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(OSError):  # another process was quicker
                about = path.stat()
                if stat.S_ISREG(about.st_mode):
                    entries.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= most:
            return
        with suppress(OSError):
            path.unlink(missing_ok=True)
            total -= size


def write_manifest(folder: Path) -> None:
    """List a folder's files with their sizes and SHA-256 digests in ``manifest.json``; the model card is left out."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    listed = {
        name: {"bytes": path.stat().st_size, "sha256": _digest(path)}
        for name, path in sorted(paths.items())
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


@contextmanager
def locked(folder: Path, done: str, notice: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold a folder, made if it is not there, against other processes.

    The lock is the operating system's, on a file in the folder: it ends with the process that holds it, however that
    ends, so a file that a killed process left behind blocks nobody. The file says who holds it, for the other's
    message. On a file system that knows no locks (some of clusters) everybody gets it.

    Args:
        folder: the folder.
        done: what is done into it, such as ``trained``, for the message.
        notice: called with a line of text where nothing keeps others out.

    Raises:
        RunBusyError: another process has it; the message names it.
        OutputError: it cannot be made, or its file is a symbolic link.
    """
    path = folder / LOCK
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    while True:
        with writing(path):
            file = FileIO(path, "a+", opener=_no_link)
        with file:
            if not _flock(file, path, done):
                notice(f"{folder}: this file system knows no locks; let no other process write there meanwhile")
            if not _has_name(file, path):  # whoever had it removed the file after it was opened here
                continue
            try:
                with suppress(OSError):  # a full disk takes no more than the holder's name from it
                    file.truncate(0)
                    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
                yield
            finally:
                if _has_name(file, path):
                    path.unlink(missing_ok=True)  # while it is held: afterwards it could be another's
            return


def _flock(file: FileIO, path: Path, done: str) -> bool:
    """Lock an open file; returns whether its file system knows locks."""
    import fcntl  # not on every system, and nothing else here needs it

    with writing(path):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            who = f"{path.parent} is being {done} into by {_holder(file)}"
            raise RunBusyError(f"{who}; wait for it or stop it, or choose another --out") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
    return True


def _has_name(file: FileIO, path: Path) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: FileIO) -> str:
    """Who holds a lock, in words."""
    try:
        file.seek(0)
        content = json.loads(file.read(1000))
        return f"process {int(content['pid'])} on {content['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just writing, or the file system shows it late
        return "another process"
