"""How the results of each environment are called: its splits, the columns of its table, what stands under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gtr_envs.episode import Episode
from leaderboard.failures import Failure, failure_of
from leaderboard.texts import readable

DEFAULT_ENV = "gtr/Points24-v0"

FAILURES = {
    Failure.WRONG: "ended without success",
    Failure.ILLEGAL: "an illegal action ended it",
    Failure.INVALID: "answers could not be read",
    Failure.CUT_OFF: "cut off",
    Failure.UNSOLVABLE: "has no solution",
    Failure.CRASHED: "crashed",
}
"""What a failure is called where an environment has no words of its own for it."""


@dataclass(frozen=True)
class Wording:
    """The words of an environment's results.

    Attributes:
        columns: (split, heading) of each success rate in the table.
        ranking: the splits that agents are ranked by, the first that counts most.
        explained: the line under the table; empty if there is nothing to explain.
        sides: (hand_split, words) of the rates that a summary shows beside the whole.
        titles: what a split is called as a heading; its own name where nothing is said here.
        failures: what kinds of failure are called, where :data:`FAILURES` is not plain enough.
    """

    columns: tuple[tuple[str, str], ...]
    ranking: tuple[str, ...]
    explained: str = ""
    sides: tuple[tuple[str, str], ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[Failure, str] = field(default_factory=dict)

    def heading(self, split: str) -> str:
        """The heading of a column of success rates."""
        return dict(self.columns).get(split, f"success,\n{split}")

    def title(self, split: str) -> str:
        """What a split is called as a heading."""
        return self.titles.get(split, split)

    def failure(self, kind: Failure) -> str:
        """What a kind of failure is called."""
        return self.failures.get(kind, FAILURES[kind])


HANDS = Wording(
    columns=(("train", "success,\ntrained"), ("test", "success,\nheld-out"), ("all", "success,\nall hands")),
    ranking=("all", "test", "train"),
    explained="trained, held-out: multisets of card values that training may use, never uses",
    sides=(("train", "on trained multisets"), ("test", "on held-out multisets")),
    titles={"train": "Trained multisets", "test": "Held-out multisets", "all": "All hands"},
    failures={
        Failure.WRONG: "wrong formula",
        Failure.ILLEGAL: "an illegal number ended it",
        Failure.CUT_OFF: "formula too long, cut off",
    },
)
ROOMS = Wording(
    columns=(
        ("valid_seen", "success,\nvalid_seen"),
        ("valid_unseen", "success,\nvalid_unseen"),
        ("train", "success,\ntrain"),
    ),
    ranking=("valid_unseen", "valid_seen", "train"),
    explained="valid_seen: other games in rooms of training; valid_unseen: rooms that training never uses",
    failures={Failure.CUT_OFF: "task not done, cut off"},
)
WHOLE = Wording(columns=(("all", "success"),), ranking=("all",), titles={"all": "All episodes"})
SUMS = replace(WHOLE, failures={Failure.WRONG: "wrong formula", Failure.CUT_OFF: "formula too long, cut off"})
LINE = replace(WHOLE, failures={Failure.CUT_OFF: "target not reached, cut off"})
BLACKJACK = replace(WHOLE, failures={Failure.WRONG: "lost or drawn"})

_WORDINGS = {
    DEFAULT_ENV: HANDS,
    "gtr/ALFWorld-v0": ROOMS,
    "gtr/ALFWorldThor-v0": ROOMS,
    "gtr/EZPoints-v0": SUMS,
    "gtr/NumberLine-v0": LINE,
    "gtr/Blackjack-v0": BLACKJACK,
}


def wording(env_id: str) -> Wording:
    """The words of an environment's results; those of one without splits if nothing is known of it."""
    return _WORDINGS.get(env_id, WHOLE)


def outcome(episode: Episode, env_id: str = "", error: bool = True) -> str:
    """How an episode ended, in a few words.

    Args:
        episode: the episode.
        env_id: where it was played; its own words are taken where it has some.
        error: say of a crash what it was.
    """
    kind = failure_of(episode)
    if kind is None:
        return "solved"
    words = wording(env_id).failure(kind)
    return f"{words}: {readable(episode.error or 'unknown error')}" if error and kind is Failure.CRASHED else words
