"""Play recorded answers again, to see the frames that the agent saw.

Frames are not kept with the episodes. An environment with the same options and seed, given the same answers, shows the
same frames; that it is still the same environment is checked against the recorded rewards.
"""

from __future__ import annotations

import numpy as np

from gtr_envs.episode import Episode, StopReason
from gtr_envs.errors import ResultError
from gtr_envs.text_actions import make_text_env
from leaderboard.records import RunMeta
from leaderboard.sources import options_again

STARTS = ("cards", "task")
"""What an episode starts with, where it has them: other games may give the same rewards, but not the same start."""


def replay(meta: RunMeta, episode: Episode) -> list[np.ndarray]:
    """Play an episode again.

    Args:
        meta: the settings it was played with.
        episode: the recorded episode.

    Returns:
        (height, width, 3) uint8 frames: the one each turn answered, then the one the episode ended with.

    Raises:
        ResultError: the environment answers differently from what was recorded, or what it needs is not here.
    """

    def differs(turn: int, what: str) -> ResultError:
        return ResultError(
            f"episode {episode.seed} of {meta.agent} does not replay: turn {turn + 1} {what}; it was recorded with "
            f"gtr-bench {meta.version}, whose rules may differ from these; evaluate the agent again"
        )

    env = make_text_env(meta.env_id, **options_again(meta))
    try:
        try:
            frame, info = env.reset(seed=episode.seed)
        except Exception as error:  # a broken game, an engine that is not installed: the others can still be shown
            raise ResultError(f"episode {episode.seed} of {meta.agent} cannot begin again: {error}") from error
        for name in STARTS:
            now, then = info.get(name, ()), episode.info.get(name, ())
            if list(now) != list(then):
                raise differs(0, f"starts with {now}, recorded was {then}")
        frames = [np.array(frame)]
        last = len(episode.turns) - 1
        for turn in episode.turns:
            frame, reward, terminated, truncated, _ = env.step(turn.text)
            if float(reward) != turn.reward:
                raise differs(turn.index, f"gives reward {float(reward):g}, recorded was {turn.reward:g}")
            over = terminated or truncated
            if over != (turn.index == last) and episode.stop is not StopReason.CRASHED:
                raise differs(turn.index, "ends the episode" if over else "does not end the episode")
            frames.append(np.array(frame))
        return frames
    finally:
        env.close()
