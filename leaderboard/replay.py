"""Play recorded answers again, to see the frames and prompts that the agent saw.

Neither is kept with the episodes. An environment with the same options and seed, given the same answers, shows and asks
the same; that it is still the same environment is checked against all that was recorded of its replies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gtr_envs.episode import Episode, Policy, Response, Seat, StopReason, Turn
from gtr_envs.errors import ResultError
from gtr_envs.text_actions import TextActions, make_text_env
from leaderboard.records import RunMeta
from leaderboard.sources import game_of, options_again
from leaderboard.texts import readable

STARTS = ("cards", "task")
"""What an episode starts with, where it has them: other games may give the same rewards, but not the same start."""

FOLLOWS = ("status", "action", "thoughts", "reward", "illegal")
"""What of a turn follows from its answer."""


@dataclass(frozen=True)
class Difference:
    """Something that was recorded otherwise than it comes about.

    Attributes:
        turn: which turn, counted from 0; None if it is about the whole episode.
        what: what it is, such as ``reward``, ``end`` or ``answer``.
        text: both sides in words, such as "gives reward 0, recorded was 3".
    """

    turn: int | None
    what: str
    text: str

    def __str__(self) -> str:
        return self.text if self.turn is None else f"turn {self.turn + 1} {self.text}"


@dataclass(frozen=True)
class Replayed:
    """An episode that was played again.

    Attributes:
        episode: as it came about here; its turns hold frames, if wanted, and prompts.
        last_frame: the (height, width, 3) uint8 picture that it ended with.
        differences: where it is another than the recorded one, in the order of turns.
    """

    episode: Episode
    last_frame: np.ndarray
    differences: tuple[Difference, ...]


def replay(meta: RunMeta, episode: Episode) -> list[np.ndarray]:
    """Play an episode again, for its pictures.

    Args:
        meta: the settings it was played with.
        episode: the recorded episode.

    Returns:
        (height, width, 3) uint8 frames: the one each turn answered, then the one the episode ended with.

    Raises:
        ResultError: the environment answers differently from what was recorded, or what it needs is not here.
    """
    again = replay_episode(meta, episode)
    return [*(turn.frame for turn in again.episode.turns if turn.frame is not None), again.last_frame]


def replay_episode(meta: RunMeta, episode: Episode) -> Replayed:
    """Play an episode again, frames, prompts and all. Arguments and errors as for :func:`replay`."""
    try:
        env = make_text_env(meta.env_id, **options_again(meta))
        try:
            again = play_again(env, episode, keep_frames=True)
        finally:
            env.close()
    except Exception as error:  # no such environment here, a broken game, no engine: the others can still be shown
        why = readable(str(error))
        raise ResultError(f"episode {episode.seed} of {meta.agent} cannot be played again: {why}") from error
    if again.differences:
        raise ResultError(
            f"episode {episode.seed} of {meta.agent} does not replay: {again.differences[0]}; it was recorded with "
            f"gtr-bench {meta.version}, whose rules may differ from these; evaluate the agent again"
        )
    return again


def play_again(
    env: TextActions,
    episode: Episode,
    *,
    keep_frames: bool = False,
    policy: Policy | None = None,
    policy_seed: int = 0,
) -> Replayed:
    """Give an environment the recorded answers, and note what comes about otherwise.

    Args:
        env: made with the recorded options.
        episode: the recorded episode.
        keep_frames: whether the turns keep their pictures.
        policy: who is said to have answered, if that can be asked again: its answers are compared, too.
        policy_seed: the seed of its sampling.

    Returns:
        the episode as far as it goes here. Of a crashed one, the crash itself is taken as recorded.
    """
    seat = Seat(env, policy_seed, keep_frames)
    seat.start(episode.seed)
    crashed_at_once = episode.stop is StopReason.CRASHED and not episode.info and not episode.turns
    differences = [] if crashed_at_once else list(_starts_otherwise(seat.start_info, episode.info))
    for turn in episode.turns:
        if seat.done:
            break
        if policy is not None:
            differences += _answers_otherwise(policy.act([seat.request()])[0], turn)
        played = seat.apply(Response(turn.text, turn.tokens, turn.thought_tokens))
        differences += _goes_otherwise(played, turn)
    again = seat.episode(episode.error if episode.stop is StopReason.CRASHED else None)
    differences += _ends_otherwise(again, episode, seat.done)
    return Replayed(again, np.array(seat.frame), tuple(differences))


def _starts_otherwise(now: dict[str, Any], then: Any) -> Iterator[Difference]:
    for name in sorted({*now, *then}, key=lambda name: (name not in STARTS, name)):
        one, other = now.get(name), then.get(name)
        if name == "gamefile":
            one, other = game_of(one), game_of(other)
        if one != other:
            yield Difference(
                None, name, f"starts with {name} {now.get(name)!r:.200}, recorded was {then.get(name)!r:.200}"
            )


def _answers_otherwise(response: Response, turn: Turn) -> Iterator[Difference]:
    if response.text != turn.text:
        yield Difference(
            turn.index, "answer", f"would be answered {response.text!r:.200}, recorded was {turn.text!r:.200}"
        )
    if (response.tokens, response.thought_tokens) != (turn.tokens, turn.thought_tokens):
        recorded = f"{turn.tokens} and {turn.thought_tokens}"
        now = f"{response.tokens} and {response.thought_tokens}"
        yield Difference(turn.index, "tokens", f"takes {now} tokens and thought tokens, recorded was {recorded}")


def _goes_otherwise(now: Turn, then: Turn) -> Iterator[Difference]:
    for name in FOLLOWS:
        one, other = getattr(now, name), getattr(then, name)
        if one != other:
            texts = [_said(value, quoted=name == "thoughts") for value in (one, other)]
            yield Difference(then.index, name, f"gives {name} {texts[0]}, recorded was {texts[1]}")


def _said(value: object, quoted: bool) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value!r:.200}" if quoted or value is None else readable(str(value), 200)


def _ends_otherwise(now: Episode, then: Episode, done: bool) -> Iterator[Difference]:
    crashed = then.stop is StopReason.CRASHED
    if now.steps < then.steps:
        yield Difference(now.steps - 1, "end", "ends the episode, recorded were more turns")
    elif done and crashed:
        yield Difference(max(now.steps - 1, 0), "end", "ends the episode, recorded was a crash after it")
    elif not done and not crashed:
        yield Difference(max(now.steps - 1, 0), "end", "does not end the episode, recorded was its end")
    elif not crashed and now.stop is not then.stop:
        yield Difference(None, "stop", f"ends {now.stop}, recorded was {then.stop}")
    if done and now.steps == then.steps and now.success != then.success:
        texts = ["a success" if success else "no success" for success in (now.success, then.success)]
        yield Difference(None, "success", f"is {texts[0]}, recorded was {texts[1]}")
    if crashed and then.success:
        yield Difference(None, "success", "crashed, recorded was a success")
