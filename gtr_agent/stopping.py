"""Ctrl-C and SIGTERM while a run trains: the first one lets the update under way finish, the second does not."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPING = "stopping after this update; once more stops at once"


class Interrupted(KeyboardInterrupt):
    """A run that stopped between two updates because it was asked to.

    Attributes:
        number: the signal that asked.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Hears the first signal and tells that it did; the second has its usual effect.

    Within it, in the main thread, the handlers are its own; afterwards they are what they were. In another thread
    signals are left alone.

    Args:
        speaks: whether this process says what it heard.
    """

    def __init__(self, speaks: bool = True) -> None:
        self.speaks = speaks
        self.heard = 0  # the signal's number; 0 while there was none
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            # What is ignored stays so; None is a handler that Python did not set and cannot put back.
            self._before = {n: handler for n, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
            for number in self._before:
                signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _put_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            self._put_back()
            signal.raise_signal(number)
            return
        self.heard = number
        if self.speaks:  # past Python's buffers, which may be in use just now
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\n" + STOPPING.encode() + b"\n")
