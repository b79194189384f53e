"""Copies of large arrays of frames, made quickly.

A fresh array of many megabytes costs about as much as filling it: the operating system hands out its memory page by
page, and clears each. So copies are made in the memory of earlier ones that nobody holds any more. Nothing that is
still held, by a view or by a tensor on the same memory included, is ever touched.

Where there is a second processor, a large copy is begun before the frames are painted on and made beside it. What the
painting changes meanwhile is copied once more at the end, so it does not matter which of the two came first.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from gtr_envs.cards.distortion import Place

MOST_KEPT = 4
LARGE = 4 * 1024 * 1024  # bytes from which another thread is worth waking

_probe = [object()]
_HELD_BY_THE_LIST_ALONE = sys.getrefcount(_probe[0])


class PendingCopy:
    """A copy of frames that is being made.

    Args:
        source: what is copied, an array (frames, height, width, 3).
        target: where to.
        done: ends when all is copied; None if nothing is copied before `finish`.
    """

    def __init__(self, source: np.ndarray, target: np.ndarray, done: Future[None] | None) -> None:
        self._source, self._target, self._done = source, target, done

    def finish(self, changed: Iterable[Place | None]) -> np.ndarray:
        """The copy, equal to the source as it is now.

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


class FramePool:
    """Makes copies of an array, in memory of earlier copies where these are gone.

    What is handed out is a view of an array that stays here, so that nothing done to it (read-only, another shape or
    type) outlives it. Every view of a view, and whatever else shares its memory, holds that array.
    """

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def copy_of(self, source: np.ndarray) -> np.ndarray:
        """A copy of an array (frames, ...) that nobody else holds."""
        array = self._free_array(source)
        np.copyto(array, source)
        return array

    def begin_copy(self, source: np.ndarray) -> PendingCopy:
        """Begin a copy of an array (frames, ...); until it is finished the source may be painted on."""
        target = self._free_array(source)
        if source.nbytes < LARGE or _processors() < 2:
            return PendingCopy(source, target, None)
        begun = threading.Event()

        def copy() -> None:
            begun.set()
            np.copyto(target, source)

        done = _helper().submit(copy)
        # Once it copies, the other thread needs the interpreter no more; before, it would wait for it in vain.
        begun.wait()
        return PendingCopy(source, target, done)

    def _free_array(self, source: np.ndarray) -> np.ndarray:
        for index in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[index]) == _HELD_BY_THE_LIST_ALONE:
                return self._arrays[index].view()
        array = np.empty_like(source)
        if len(self._arrays) < MOST_KEPT:
            self._arrays.append(array)
        return array.view()

    def __deepcopy__(self, memo: object) -> FramePool:
        """A pool of its own: what is kept here is no part of anybody's state."""
        return FramePool()

    def __reduce__(self) -> tuple[type[FramePool], tuple[()]]:
        """Pickle as an empty pool."""
        return FramePool, ()


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
