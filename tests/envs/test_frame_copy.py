"""Copies of frames: equal to their source and apart from it, also those begun early, and after a fork."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest

from gtr_envs.cards import frame_copy
from gtr_envs.cards.frame_copy import LARGE, FrameCopy

SOURCE = np.random.default_rng(0).integers(0, 256, size=(5, LARGE // 4), dtype=np.uint8)


def test_copies_equal_their_source_and_leave_it_alone() -> None:
    for source in (SOURCE, SOURCE[:1, :100], np.zeros((3, 2))):
        made = FrameCopy(source).finish([None] * len(source))
        assert (made == source).all()
        assert made.flags.owndata


@pytest.mark.parametrize("processors", [1, 2])
def test_a_copy_that_is_begun_early_has_what_is_painted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    monkeypatch.setattr(frame_copy, "_processors", lambda: processors)
    frames = np.random.default_rng(1).integers(0, 256, size=(6, 1024, 1024), dtype=np.uint8)
    for value in range(20):
        copying = FrameCopy(frames)
        frames[0, 5:9, 7:30] = value
        frames[4] = value
        changed = [(slice(5, 9), slice(7, 30)), None, None, None, (slice(None), slice(None)), None]
        made = copying.finish(changed)
        assert (made == frames).all()
        assert not np.shares_memory(made, frames)


def test_a_copy_that_is_never_finished_writes_into_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_copy, "_processors", lambda: 2)
    for value in range(20):
        FrameCopy(np.full((4, LARGE // 2), 255, np.uint8))
        source = np.full((4, LARGE // 2), value, np.uint8)
        assert (FrameCopy(source).finish([None] * 4) == value).all()


def copies_well() -> None:
    sys.exit(0 if (FrameCopy(SOURCE).finish([None] * len(SOURCE)) == SOURCE).all() else 1)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_copy, "_processors", lambda: 2)
    FrameCopy(SOURCE).finish([None] * len(SOURCE))
    child = multiprocessing.get_context("fork").Process(target=copies_well)
    child.start()
    child.join(timeout=30)
    still_waiting = child.is_alive()
    child.kill()
    assert not still_waiting
    assert child.exitcode == 0
