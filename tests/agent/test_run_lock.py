"""One process at a time trains into a run's folder."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gtr_agent.files import LOCK, check_free, new_folder
from gtr_agent.run_lock import RunBusyError, RunLock
from gtr_agent.settings import Settings
from gtr_agent.train import train
from gtr_envs.errors import OutputExistsError

HOLDER = """
import sys
from pathlib import Path
from gtr_agent.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def hold(run: Path) -> "subprocess.Popen[str]":
    """Another process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_has_it_and_a_killed_holder_does_not_block(tmp_path: Path) -> None:
    process = hold(tmp_path)
    lock = RunLock(tmp_path)
    with pytest.raises(RunBusyError, match=f"process {process.pid} on {socket.gethostname()}"):
        lock.acquire()
    lock.release()
    assert (tmp_path / LOCK).is_file(), "it is still the other's"
    process.kill()
    process.wait()
    assert (tmp_path / LOCK).is_file()
    lock.acquire()
    with pytest.raises(RunBusyError, match=f"process {os.getpid()} "):
        RunLock(tmp_path).acquire()
    lock.release()
    assert list(tmp_path.iterdir()) == []
    RunLock(tmp_path).acquire()


def test_a_run_that_is_trained_is_not_resumed(settings: Settings, tmp_path: Path) -> None:
    short = settings.model_copy(update={"ppo": settings.ppo.model_copy(update={"updates": 1})})
    last = train(short, tmp_path / "run")
    (last / "manifest.json").unlink()  # so that there is something to go on with
    (tmp_path / "run" / "metrics.jsonl").write_text("as it was")
    process = hold(tmp_path / "run")
    with pytest.raises(RunBusyError, match="is being trained into by process"):
        train(short, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == "as it was"
    process.kill()
    process.wait()


def test_a_lock_left_behind_is_nothing_that_a_folder_holds(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("{}")
    check_free(tmp_path)
    with new_folder(tmp_path) as folder:
        (folder / "file").write_text("")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OutputExistsError):
        train(settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
