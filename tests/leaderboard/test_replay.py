"""Replaying: the same frames as the agent saw, or an error that says where it went another way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import write_answer
from gtr_envs.text_actions import make_text_env
from leaderboard.replay import replay

from .conftest import POINTS24, Evaluate


def test_a_replay_shows_what_the_agent_saw(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    frames = replay(result.meta, episode)
    assert len(frames) == episode.steps + 1
    env = make_text_env(POINTS24)
    first, _ = env.reset(seed=episode.seed)
    assert np.array_equal(frames[0], first)
    second, *_ = env.step(episode.turns[0].text)
    assert np.array_equal(frames[1], second)
    assert not np.array_equal(frames[0], frames[1])


def test_a_replay_that_differs_is_an_error(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    turns = list(episode.turns)
    for changed, message in (
        (replace(episode, turns=(replace(turns[0], reward=3.0), *turns[1:])), "turn 1 gives reward 0, recorded was 3"),
        (replace(episode, turns=tuple(turns[:-1])), "does not end the episode"),
        (replace(episode, turns=(*turns, turns[-1])), "ends the episode"),
        (replace(episode, info={**episode.info, "cards": ["AH"]}), "recorded was"),
        (replace(episode, turns=(replace(turns[0], text=write_answer({"action": "="})), *turns[1:])), "turn 1"),
    ):
        with pytest.raises(ResultError, match=message):
            replay(result.meta, changed)
