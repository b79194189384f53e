"""Files are whole or absent, folders have one writer, and neither follows a symbolic link."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gtr_envs.errors import OutputError, OutputExistsError, RunBusyError
from gtr_envs.storage import (
    LOCK,
    append_line,
    clear_leftovers,
    locked,
    new_folder,
    prune,
    remove_folder,
    to_json,
    truncate,
    write_atomic,
    write_json,
)

ROOT = Path(__file__).resolve().parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Files.


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_has_its_folder_and_the_mode_of_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "folder" / "one.z", b"\r\n", durable)
    finally:
        os.umask(before)
    assert (tmp_path / "folder" / "one.z").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder" / "one.z").read_bytes() == b"\r\n"
    assert len(synced) == (2 if durable else 0), "the contents, and the folder's list of names"


def test_a_file_that_cannot_be_replaced_stays_as_it_is(tmp_path: Path, small_disk: int) -> None:
    write_atomic(tmp_path / "file.json", "old")
    (tmp_path / "two.z").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*file\.json: File too large; what was written before"):
        write_atomic(tmp_path / "file.json", "x" * 2 * small_disk)
    with pytest.raises(OutputError, match=r"cannot write .*two\.z: Is a directory"):
        write_atomic(tmp_path / "two.z", b"content")
    assert (tmp_path / "file.json").read_text() == "old"
    assert names(tmp_path) == ["file.json", "two.z"]


def test_halves_of_letters_can_be_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "text", "\u00e4\ud800")
    assert (tmp_path / "text").read_text("utf-8") == "\u00e4?"
    write_json(tmp_path / "json", ["\u00e4\ud800\\"])
    assert (tmp_path / "json").read_text("utf-8") == '[\n  "\u00e4\\ud800\\\\"\n]\n'
    assert to_json({"a": ("\ud800", float("nan"))}) == '{"a": ["\\ud800", null]}'


def test_a_line_that_finds_no_room_leaves_no_half(tmp_path: Path, small_disk: int) -> None:
    path = tmp_path / "lines.jsonl"
    append_line(path, "first")
    with pytest.raises(OutputError, match="cannot write"):
        append_line(path, "x" * small_disk)
    assert path.read_text() == "first\n"
    append_line(path, "second")
    assert path.read_text() == "first\nsecond\n"


def hold(path: Path) -> None:
    with locked(path.parent, "written"):
        pytest.fail("the lock's file is a link")


@pytest.mark.parametrize("write", [lambda path: append_line(path, "{}"), lambda path: truncate(path, 0), hold])
@pytest.mark.parametrize("there", [True, False])
def test_a_symbolic_link_is_not_followed(tmp_path: Path, write: Callable[[Path], None], there: bool) -> None:
    target = tmp_path / "target"
    if there:
        target.write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / LOCK).symlink_to(target)
    with pytest.raises(OutputError, match=r"cannot write .*\.lock: it is a symbolic link"):
        write(tmp_path / "folder" / LOCK)
    assert target.exists() == there
    assert not there or target.read_text() == "precious"
    write_atomic(tmp_path / "folder" / LOCK, "replaces the link")
    assert target.exists() == there


def test_a_cache_forgets_what_was_not_used_for_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for age in range(5):
        (tmp_path / f"{age}.z").write_bytes(b"x" * 100)
        os.utime(tmp_path / f"{age}.z", (1000 - age, 1000 - age))
    (tmp_path / "folder").mkdir()
    os.utime(tmp_path / "folder", (1, 1))
    unlink = Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name == "4.z":  # another user's
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)
    prune(tmp_path, 250)
    assert names(tmp_path) == ["0.z", "4.z", "folder"]
    prune(tmp_path / "nowhere", 250)


# Folders.


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def interrupted() -> None:
        with new_folder(out) as partial:
            (partial / "half").write_text("...")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []
    out.mkdir()
    (out / LOCK).write_text("{}")  # left behind; it counts for nothing
    with new_folder(out) as partial:
        (partial / "whole").write_text("!")
        assert names(out) == [LOCK]
    assert names(out) == ["whole"]
    with pytest.raises(OutputExistsError), new_folder(out):
        pass
    assert names(out) == ["whole"]


def test_what_a_killed_process_left_is_gone_at_the_next_start(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import os, signal, sys; from pathlib import Path; from gtr_envs.storage import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half').write_text('...'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(out)], cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    number = left.name.rpartition("-")[2]
    others = [
        tmp_path / left.name.replace(number, str(os.getppid())),  # a process that lives
        tmp_path / f".out.partial-elsewhere-{number}",  # another machine's
        tmp_path / left.name.replace("out", "outer"),
        tmp_path / f"{left.name}-kept",
    ]
    for other in others:
        other.mkdir()
    with new_folder(out) as partial:
        assert not left.exists()
        assert partial.is_dir()
    assert {*tmp_path.iterdir()} == {out, *others}


def test_leftovers_alone_are_cleared(tmp_path: Path) -> None:
    for kept in ("kept.partial-1", ".hidden", ".a.partial-1"):
        (tmp_path / kept).write_text("")
    (tmp_path / ".b.dropped-1").mkdir()
    assert clear_leftovers(tmp_path) == [".a.partial-1", ".b.dropped-1"]
    assert names(tmp_path) == [".hidden", "kept.partial-1"]
    remove_folder(tmp_path / "nothing")


# Locks.

HOLDER = """
import sys
from pathlib import Path
from gtr_envs.storage import locked
with locked(Path(sys.argv[1]), "trained"):
    print("held", flush=True)
    sys.stdin.read()
"""


def take(folder: Path) -> None:
    with locked(folder, "trained", pytest.fail):
        pass


def test_the_second_is_told_who_has_it_and_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RunBusyError, match=f"trained into by process {process.pid} on {socket.gethostname()}; wait"):
        take(tmp_path)
    assert names(tmp_path) == [LOCK], "it is still the other's"
    process.kill()
    process.communicate()
    assert names(tmp_path) == [LOCK]
    with locked(tmp_path, "trained"), pytest.raises(RunBusyError, match=f"process {os.getpid()} "):
        take(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(PermissionError), locked(tmp_path, "trained"):
        raise PermissionError(13, "what is raised within a lock is not about writing it")
    take(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EIO])
def test_where_there_are_no_locks_everybody_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", fail)
    if number == errno.EIO:  # says nothing of the kind
        with pytest.raises(OutputError, match=r"cannot write .*\.lock"):
            take(tmp_path)
        return
    told: list[str] = []
    with locked(tmp_path, "evaluated", told.append), locked(tmp_path, "evaluated", told.append):
        assert len(told) == 2
    assert "knows no locks" in told[0]
    assert names(tmp_path) == []


def test_a_folder_is_not_made_in_the_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    message = "link is a symbolic link; name the folder that it leads to"
    with pytest.raises(OutputExistsError, match=message), new_folder(tmp_path / "link"):
        pytest.fail("before hours of work, not after")
    assert (tmp_path / "link").is_symlink()
