"""Training that gets a signal, as a rule SIGKILL, at a chosen point; for ``test_resume.py``, in its own process."""

import fnmatch
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gtr_agent.settings import Settings
from gtr_agent.train import train


def train_until(settings: Settings, out: Path, resume: bool, point: str, number: int = signal.SIGKILL) -> None:
    """Train, and get a signal when the file system is about to be touched at a point for the first time.

    Args:
        settings: of the run.
        out: its folder.
        resume: whether to go on with what is there.
        point: ``EVENT PATTERN``: Python's audit event and the path in the run's folder it has to be about; empty to
            train to the end.
        number: the signal.
    """
    heard: list[str] = []
    event, _, pattern = point.partition(" ")

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and not heard and any(matches(argument) for argument in arguments):
            heard.append(name)
            os.kill(os.getpid(), number)

    def matches(argument: object) -> bool:
        if not isinstance(argument, str | os.PathLike):
            return False
        return fnmatch.fnmatch(os.path.relpath(os.fspath(argument), out), pattern)

    if point:
        sys.addaudithook(watch)
    train(settings, out, resume=resume)
