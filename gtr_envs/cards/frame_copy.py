"""Copies of batches of frames that are made while the environments step.

Where there is a second processor, a large copy is begun before the frames are painted on and made alongside it. What
the painting changes meanwhile is copied once more at the end, so it does not matter which of the two came first.

Each copy is an array of its own. Up to 32 MiB, 124 pictures of 300 x 300, glibc hands the memory of a freed one out
again as it is; a larger one comes from the operating system, which clears its pages first.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from gtr_envs.cards.distortion import Place

LARGE = 4 * 1024 * 1024  # bytes from which another thread is worth waking


class FrameCopy:
    """A copy of frames, begun at once; until it is finished the source may be painted on.

    Args:
        source: what is copied, an array (frames, height, width, 3).
    """

    def __init__(self, source: np.ndarray) -> None:
        self._source, self._target = source, np.empty_like(source)
        self._done: Future[None] | None = None  # None if nothing is copied before `finish`
        if source.nbytes < LARGE or _processors() < 2:
            return
        begun = threading.Event()

        def copy() -> None:
            begun.set()
            np.copyto(self._target, source)

        self._done = _helper().submit(copy)
        # Once it copies, the other thread needs the interpreter no more; before, it would wait for it in vain.
        begun.wait()

    def finish(self, changed: Iterable[Place | None]) -> np.ndarray:
        """The copy, equal to the source as it is now, in an array of its own.

        Args:
            changed: for each frame the part that was painted on since the copy was begun, None for nothing.
        """
        source, target = self._source, self._target
        if self._done is None:
            np.copyto(target, source)
            return target
        self._done.result()
        for index, place in enumerate(changed):
            if place is not None:
                target[index][place] = source[index][place]
        return target


@lru_cache(maxsize=1)
def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _helper() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="copy-frames")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork: a child that waited for its parent's would wait for ever.
    os.register_at_fork(after_in_child=_helper.cache_clear)
