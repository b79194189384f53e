"""One process at a time trains into a run's folder.

The lock is the operating system's, on a file in the folder: it ends with the process that holds it, however that ends,
so a file that a killed process left behind blocks nobody. The file says who holds it, for the other's message.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from gtr_agent.files import LOCK
from gtr_envs.errors import GtrError

_NOT_TO_BE_HAD = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)


class RunBusyError(GtrError, RuntimeError):
    """A run's folder into which another process trains."""


class RunLock:
    """The right to write into a run's folder.

    On a file system that knows no locks (some of clusters) everybody gets it.

    Args:
        run: the folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / LOCK
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take it, in a folder that is there.

        Raises:
            RunBusyError: another process has it; the message names it.
        """
        while self._handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _holder(handle)
                os.close(handle)
                raise RunBusyError(
                    f"{self.run} is being trained into by {holder}; wait for it or stop it, or choose another --out"
                ) from error
            except OSError as error:
                if error.errno not in _NOT_TO_BE_HAD:
                    os.close(handle)
                    raise
            if self._is_there(handle):
                self._handle = handle
            else:  # whoever had it removed the file after it was opened here
                os.close(handle)
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)

    def release(self) -> None:
        """Give it back and remove its file; nothing if it is not held."""
        if self._handle is None:
            return
        if self._is_there(self._handle):
            self.path.unlink(missing_ok=True)  # while it is held: afterwards it could be another's
        os.close(self._handle)
        self._handle = None

    def _is_there(self, handle: int) -> bool:
        """Whether the open file is the one of that name."""
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False


def _holder(handle: int) -> str:
    """Who holds a lock, in words."""
    try:
        content = json.loads(os.pread(handle, 1000, 0))
        return f"process {int(content['pid'])} on {content['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just writing, or the file system shows it late
        return "another process"
