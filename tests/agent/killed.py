"""Training that is killed at a chosen point, for ``test_resume.py``; run in a process of its own."""

import fnmatch
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gtr_agent.settings import Settings
from gtr_agent.train import train


def train_until(settings: Settings, out: Path, resume: bool, point: str) -> None:
    """Train, and die by SIGKILL when the file system is about to be touched at a point.

    Args:
        settings: of the run.
        out: its folder.
        resume: whether to go on with what is there.
        point: ``EVENT PATTERN``: Python's audit event and the path in the run's folder it has to be about; empty to
            train to the end.
    """
    event, _, pattern = point.partition(" ")

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == event and any(matches(argument) for argument in arguments):
            os.kill(os.getpid(), signal.SIGKILL)

    def matches(argument: object) -> bool:
        if not isinstance(argument, str | os.PathLike):
            return False
        return fnmatch.fnmatch(os.path.relpath(os.fspath(argument), out), pattern)

    if point:
        sys.addaudithook(watch)
    train(settings, out, resume=resume)
