"""Copies of large arrays of frames, made quickly.

A fresh array of many megabytes costs about as much as filling it: the operating system hands out its memory page by
page, and clears each. So copies are made in the memory of earlier ones that nobody holds any more. Nothing that is
still held, by a view or by a tensor on the same memory included, is ever touched. Where there is a second processor, it
copies one half.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

MOST_KEPT = 4
LARGE = 4 * 1024 * 1024  # bytes from which two threads are quicker than one

_probe = [object()]
_HELD_BY_THE_LIST_ALONE = sys.getrefcount(_probe[0])


class FramePool:
    """Makes copies of an array, in memory of earlier copies where these are gone."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []

    def copy_of(self, source: np.ndarray) -> np.ndarray:
        """A copy of an array (frames, ...) that nobody else holds."""
        array = self._free_array(source)
        copy_quickly(array, source)
        return array

    def _free_array(self, source: np.ndarray) -> np.ndarray:
        for index in range(len(self._arrays)):
            if sys.getrefcount(self._arrays[index]) == _HELD_BY_THE_LIST_ALONE:
                return self._arrays[index]
        array = np.empty_like(source)
        if len(self._arrays) < MOST_KEPT:
            self._arrays.append(array)
        return array

    def __deepcopy__(self, memo: object) -> FramePool:
        """A pool of its own: what is kept here is no part of anybody's state."""
        return FramePool()

    def __reduce__(self) -> tuple[type[FramePool], tuple[()]]:
        """Pickle as an empty pool."""
        return FramePool, ()


def copy_quickly(target: np.ndarray, source: np.ndarray) -> None:
    """Copy an array (frames, ...) into another of its shape and type, a large one with two threads."""
    if source.nbytes < LARGE or _processors() < 2:
        np.copyto(target, source)
        return
    half = len(source) // 2
    other_half = _helper().submit(np.copyto, target[:half], source[:half])
    np.copyto(target[half:], source[half:])
    other_half.result()


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
