"""Copies of frames: equal, never in memory that somebody still holds, also large ones and after a fork."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import pickle
import sys
import warnings
import weakref

import numpy as np
import pytest

from gtr_envs.cards import frame_pool
from gtr_envs.cards.frame_pool import LARGE, MOST_KEPT, FramePool

SOURCE = np.random.default_rng(0).integers(0, 256, size=(5, LARGE // 4), dtype=np.uint8)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]  # type: ignore[no-any-return]


def test_copies_equal_their_source_and_leave_it_alone() -> None:
    pool = FramePool()
    for source in (SOURCE, SOURCE[:1, :100], np.zeros((3, 2))):
        made = FramePool().copy_of(source)
        assert (made == source).all()
        assert not np.shares_memory(made, source)
    kept = [pool.copy_of(SOURCE) for _ in range(MOST_KEPT + 3)]
    assert len({address(array) for array in kept}) == len(kept)
    assert all((array == SOURCE).all() for array in kept)


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    pool = FramePool()
    first = pool.copy_of(SOURCE)
    place = address(first)
    assert address(pool.copy_of(SOURCE)) != place
    del first
    assert address(pool.copy_of(SOURCE)) == place


@pytest.mark.parametrize("hold", [lambda a: a[2:], lambda a: a.T, memoryview, lambda a: a.reshape(-1)[::3].view()])
def test_memory_that_is_held_in_any_way_is_left_alone(hold: object) -> None:
    pool = FramePool()
    made = pool.copy_of(SOURCE)
    place = address(made)
    held = hold(made)  # type: ignore[operator]
    del made
    gc.collect()
    for _ in range(3):
        assert address(pool.copy_of(SOURCE)) != place
    del held
    assert place in {address(array) for array in [pool.copy_of(SOURCE) for _ in range(MOST_KEPT)]}


def test_nothing_done_to_a_copy_outlives_it() -> None:
    pool = FramePool()
    source = np.zeros((4, 6, 5), np.uint8)

    def make_read_only(array: np.ndarray) -> None:
        array.flags.writeable = False

    def reshape(array: np.ndarray) -> None:
        array.shape = (4, 30)

    def retype(array: np.ndarray) -> None:
        array.dtype = np.int8  # type: ignore[misc]

    for change in (make_read_only, reshape, retype):
        made = pool.copy_of(source)
        place = address(made)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # NumPy would rather not have shapes set
            change(made)
        del made
        again = pool.copy_of(source)
        assert address(again) == place
        assert (again.shape, again.dtype, again.flags.writeable) == (source.shape, source.dtype, True)


def test_a_copy_dies_when_nobody_holds_it() -> None:
    made = FramePool().copy_of(SOURCE)
    watch = weakref.ref(made)
    del made
    assert watch() is None


def test_a_tensor_on_the_same_memory_holds_it() -> None:
    torch = pytest.importorskip("torch")
    pool = FramePool()
    tensor = torch.from_numpy(pool.copy_of(SOURCE))
    before = tensor.clone()
    pool.copy_of(np.zeros_like(SOURCE))
    assert (tensor == before).all()


@pytest.mark.parametrize("processors", [1, 2])
def test_a_copy_that_is_begun_early_has_what_is_painted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(frame_pool, "_processors", lambda: processors)
    frames = np.random.default_rng(1).integers(0, 256, size=(6, 1024, 1024), dtype=np.uint8)
    pool = FramePool()
    for value in range(20):
        copying = pool.begin_copy(frames)
        frames[0, 5:9, 7:30] = value
        frames[4] = value
        changed = [(slice(5, 9), slice(7, 30)), None, None, None, (slice(None), slice(None)), None]
        made = copying.finish(changed)
        assert (made == frames).all()
        assert not np.shares_memory(made, frames)


def test_a_copy_that_is_never_finished_is_not_used_again_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_pool, "_processors", lambda: 2)
    pool = FramePool()
    for value in range(20):
        pool.begin_copy(np.full((4, LARGE // 2), 255, np.uint8))
        source = np.full((4, LARGE // 2), value, np.uint8)
        assert (pool.begin_copy(source).finish([None] * 4) == value).all()


def test_copies_of_a_pool_share_nothing_with_it() -> None:
    pool = FramePool()
    made = pool.copy_of(SOURCE)
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool))):  # noqa: S301
        assert not np.shares_memory(other.copy_of(SOURCE), made)


def copies_well() -> None:
    sys.exit(0 if (FramePool().begin_copy(SOURCE).finish([None] * len(SOURCE)) == SOURCE).all() else 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_pool, "_processors", lambda: 2)
    FramePool().begin_copy(SOURCE).finish([None] * len(SOURCE))
    child = multiprocessing.get_context("fork").Process(target=copies_well)
    child.start()
    child.join(timeout=30)
    still_waiting = child.is_alive()
    child.kill()
    assert not still_waiting
    assert child.exitcode == 0
