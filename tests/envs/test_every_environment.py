"""The contract that every registered environment keeps, with every option that changes its spaces or its look."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from gtr_envs.cards.themes import THEME_NAMES
from gtr_envs.errors import ActionError, SettingError
from tests.envs.every_environment import CASES, IDS, OPTIONS, equal

each_case = pytest.mark.parametrize(("env_id", "options"), CASES)
each_id = pytest.mark.parametrize("env_id", IDS)


def episodes(env: gym.Env[Any, Any], seed: int, steps: int) -> list[Any]:
    """What an environment says in so many steps of a random player who may also do what is illegal."""
    random = np.random.default_rng(seed)
    said: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        action = random.integers(env.action_space.n)  # type: ignore[attr-defined]
        said.append(env.step(action))
        if said[-1][2] or said[-1][3]:
            said.append(env.reset())
    return said


def test_every_id_is_covered() -> None:
    assert set(OPTIONS) == set(IDS)
    assert len(IDS) >= 4


@each_case
def test_the_checker_finds_nothing_to_say(env_id: str, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for render_mode in ("rgb_array", "ansi"):
            check_env(gym.make(env_id, render_mode=render_mode, **options).unwrapped)


@each_case
def test_the_same_seed_says_the_same_and_another_one_something_else(env_id: str, options: dict[str, Any]) -> None:
    first, second, other = (episodes(gym.make(env_id, **options), seed, 30) for seed in (3, 3, 4))
    assert equal(first, second)
    assert not equal(first, other)


@each_case
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])  # noqa: S301
def test_a_copy_in_mid_episode_goes_on_alike_and_apart(env_id: str, options: dict[str, Any], copier: Any) -> None:
    env = gym.make(env_id, **options)
    env.reset(seed=5)
    env.action_space.seed(5)
    twins: list[gym.Env[Any, Any]] = []
    said_last: Any = None
    for _ in range(30):
        twins = [copier(env), copier(env)]
        action = env.action_space.sample()
        said = env.step(action)
        said_last = copy.deepcopy(said)
        again = twins[0].step(action)
        assert equal(said, again)
        if said[2] or said[3]:
            assert equal(env.reset(), twins[0].reset())
    # The second copy was never stepped: it still stands where its original stood.
    assert equal(twins[1].step(action), said_last)
    assert not np.shares_memory(twins[1].unwrapped.canvas, env.unwrapped.canvas)  # type: ignore[attr-defined]


@each_case
def test_render_shows_the_observation(env_id: str, options: dict[str, Any]) -> None:
    env = gym.make(env_id, render_mode="rgb_array", **options)
    frame, _ = env.reset(seed=1)
    assert equal(env.render(), frame)
    frame = env.step(env.action_space.sample())[0]
    assert equal(env.render(), frame)
    assert frame.shape == env.observation_space.shape
    text = gym.make(env_id, render_mode="ansi", **options)
    text.reset(seed=1)
    assert isinstance(text.render(), str)
    assert str(text.render()).strip()


@each_case
def test_what_is_handed_out_is_never_changed_afterwards(env_id: str, options: dict[str, Any]) -> None:
    env = gym.make(env_id, **options)
    kept: list[tuple[Any, Any]] = []
    random = np.random.default_rng(0)
    said: Any = env.reset(seed=2)
    for _ in range(25):
        kept.append((said, copy.deepcopy(said)))
        said = env.step(random.integers(env.action_space.n))  # type: ignore[attr-defined]
        if said[2] or said[3]:
            kept.append((said, copy.deepcopy(said)))
            said = env.reset()
    assert all(equal(now, then) for now, then in kept)


@each_case
def test_what_is_painted_step_by_step_is_the_picture_of_the_state(env_id: str, options: dict[str, Any]) -> None:
    env: Any = gym.make(env_id, **options).unwrapped
    random = np.random.default_rng(0)
    env.reset(seed=6)
    for _ in range(40):
        frame, _, terminated, truncated, _ = env.step(random.integers(env.action_space.n))
        env.canvas[:] = 77
        env._paint()
        assert equal(env.canvas, frame)
        if terminated or truncated:
            env.reset()


@each_id
def test_the_same_seed_plays_the_same_in_every_theme(env_id: str) -> None:
    plays = [episodes(gym.make(env_id, theme=theme), 9, 40) for theme in THEME_NAMES]
    for said in plays[1:]:
        assert equal([each[1:] for each in said], [each[1:] for each in plays[0]])
    frames = [said[0][0] for said in plays]
    assert all(not np.array_equal(frame, frames[0]) for frame in frames[1:])


@each_id
def test_without_copies_the_frame_that_is_painted_on_is_handed_out(env_id: str) -> None:
    env, plain = gym.make(env_id, copy=False).unwrapped, gym.make(env_id).unwrapped
    shared, _ = env.reset(seed=1)
    assert equal(shared, plain.reset(seed=1)[0])
    for action in (0, 1):
        frame, *rest = env.step(np.int64(action))
        expected = plain.step(np.int64(action))
        assert frame is shared
        assert equal((frame, *rest), expected)
        if rest[1] or rest[2]:
            break


@each_id
def test_writing_into_an_observation_does_not_reach_the_environment(env_id: str) -> None:
    env = gym.make(env_id, render_mode="rgb_array")
    frame, _ = env.reset(seed=1)
    before = frame.copy()
    frame[:] = 0
    assert equal(env.render(), before)


@each_id
@pytest.mark.parametrize("action", [-1, 1.5, "1", None, np.array([0, 1])])
def test_an_action_out_of_range_is_refused_and_changes_nothing(env_id: str, action: Any) -> None:
    env, twin = gym.make(env_id).unwrapped, gym.make(env_id).unwrapped
    env.reset(seed=1)
    twin.reset(seed=1)
    count = int(env.action_space.n)  # type: ignore[attr-defined]
    for wrong in (action, count):
        with pytest.raises(ActionError, match=f"a whole number from 0 to {count - 1}"):
            env.step(wrong)
    assert equal(env.step(np.int64(0)), twin.step(np.int64(0)))


@each_id
def test_stepping_or_rendering_without_an_episode_says_what_to_do(env_id: str) -> None:
    env = gym.make(env_id, render_mode="ansi").unwrapped
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.int64(0))
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before render\(\)"):
        env.render()
    ended = False
    env.reset(seed=0)
    while not ended:
        _, _, terminated, truncated, info = env.step(np.int64(0))
        ended = terminated or truncated
        assert ("is_success" in info) == ended
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step(np.int64(0))
    assert env.render()


@each_id
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theme": "plain"}, "theme='plain': expected one of 'classic', 'four_color', 'minimal', 'night', 'distorted'"),
        ({"image_size": 10}, "image_size=10: expected a whole number of pixels from 64 to 1024"),
        ({"image_size": 300.0}, "from 64 to 1024"),
        ({"image_size": True}, "from 64 to 1024"),
        ({"render_mode": "human"}, "render_mode='human': expected one of None, 'rgb_array', 'ansi'"),
        ({"copy": 1}, "copy=1: expected one of True, False"),
    ],
)
def test_unknown_option_values_name_what_is_allowed(env_id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        creator(env_id)(**options)


@each_id
@pytest.mark.parametrize("options", [{"colour": "blue"}, ["cards"]])
def test_unknown_reset_options_are_refused_and_leave_the_episode_as_it_was(env_id: str, options: Any) -> None:
    env, twin = gym.make(env_id).unwrapped, gym.make(env_id).unwrapped
    env.reset(seed=1)
    twin.reset(seed=1)
    with pytest.raises(SettingError, match="option"):
        env.reset(seed=2, options=options)
    assert equal(env.step(np.int64(0)), twin.step(np.int64(0)))
    assert equal(env.reset(), twin.reset())


def creator(env_id: str) -> Callable[..., gym.Env[Any, Any]]:
    """The class of an environment; `gymnasium.make` has its own words for some wrong arguments."""
    return gym.envs.registration.load_env_creator(str(gym.spec(env_id).entry_point))


@each_id
def test_what_info_says_is_documented(env_id: str) -> None:
    description = creator(env_id).__doc__ or ""
    keys: set[str] = set()
    for said in episodes(gym.make(env_id), 0, 50):
        keys |= set(said[-1])
    assert keys >= {"action_mask", "illegal", "is_success"}
    assert {key for key in keys if f"`{key}`" not in description} == set()
    for heading in ("Actions", "Observations", "Rewards", "Episode end", "Options", "Info", "Version history"):
        assert f"## {heading}\n" in description
