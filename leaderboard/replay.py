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


def replay(meta: RunMeta, episode: Episode) -> list[np.ndarray]:
    """Play an episode again.

    Args:
        meta: the settings it was played with.
        episode: the recorded episode.

    Returns:
        (height, width, 3) uint8 frames: the one each turn answered, then the one the episode ended with.

    Raises:
        ResultError: the environment answers differently from what was recorded.
    """

    def differs(turn: int, what: str) -> ResultError:
        return ResultError(
            f"episode {episode.seed} of {meta.agent} does not replay: turn {turn + 1} {what}; it was recorded with "
            f"gtr-bench {meta.version}, whose rules may differ from these; evaluate the agent again"
        )

    env = make_text_env(meta.env_id, **meta.env_kwargs)
    try:
        frame, info = env.reset(seed=episode.seed)
        if list(info.get("cards", ())) != list(episode.info.get("cards", ())):
            raise differs(0, f"starts with {info.get('cards')}, recorded was {episode.info.get('cards')}")
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
