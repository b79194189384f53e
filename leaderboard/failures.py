"""Why an episode was not solved: one kind for each, from what was recorded of it alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from gtr_envs.episode import Episode, StopReason


class Failure(StrEnum):
    """The kinds of failure, in the order in which they are shown."""

    WRONG = "wrong"
    ILLEGAL = "illegal"
    INVALID = "invalid"
    CUT_OFF = "cut_off"
    UNSOLVABLE = "unsolvable"
    CRASHED = "crashed"


def failure_of(episode: Episode) -> Failure | None:
    """Why an episode was not solved; None if it was.

    The first that holds: it crashed; its hand has no solution; an illegal action was its last; half of its answers or
    more could not be read; a limit on its length cut it off; it ended wrongly.
    """
    if episode.success:
        return None
    if episode.stop is StopReason.CRASHED:
        return Failure.CRASHED
    if episode.info.get("solvable") is False:
        return Failure.UNSOLVABLE
    ended = episode.stop is StopReason.TERMINATED
    if ended and episode.turns and episode.turns[-1].illegal:
        return Failure.ILLEGAL
    if episode.n_invalid and 2 * episode.n_invalid >= episode.steps:
        return Failure.INVALID
    return Failure.WRONG if ended else Failure.CUT_OFF


def count_failures(episodes: Sequence[Episode]) -> dict[Failure, int]:
    """How many episodes failed in each way; every kind is there, in the order of :class:`Failure`."""
    found = Counter(failure_of(episode) for episode in episodes)
    return {kind: found[kind] for kind in Failure}
