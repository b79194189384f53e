"""gtr/NumberLine-v0: the rules, the draw, the pictures and the options of its own."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_envs.cards.number_line import ACTIONS, NumberLineEnv, different_pair, moved, step_reward
from gtr_envs.cards.themes import THEME_NAMES
from gtr_envs.errors import SettingError

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]
STILL = [name for name in THEME_NAMES if name != "distorted"]  # whose pictures depend on the state alone


def play(env: NumberLineEnv, tokens: str) -> list[Step]:
    return [env.step(np.int64(ACTIONS.index(token))) for token in tokens]


def begun(start: int = 2, goal: int = 5, **options: Any) -> NumberLineEnv:
    env = NumberLineEnv(**options)
    env.reset(options={"start": start, "goal": goal})
    return env


# Rules.


def test_the_way_up() -> None:
    steps = play(begun(), "+++")
    assert [step[1:4] for step in steps] == [(0.0, False, False), (0.0, False, False), (1.0, True, False)]
    assert [step[4]["current"] for step in steps] == [3, 4, 5]
    assert [step[4]["distance"] for step in steps] == [2, 1, 0]
    assert steps[-1][4]["is_success"] is True
    assert all("is_success" not in step[4] for step in steps[:-1])


def test_the_way_down() -> None:
    assert [step[1:3] for step in play(begun(4, 1), "---")] == [(0.0, False), (0.0, False), (1.0, True)]


def test_a_step_away_costs_one() -> None:
    steps = play(begun(2, 4), "-+++")
    assert [step[1] for step in steps] == [-1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(("start", "goal", "step"), [(0, 3, "-"), (5, 2, "+")])
def test_a_step_against_the_border_costs_one_and_changes_nothing(start: int, goal: int, step: str) -> None:
    env = begun(start, goal)
    picture, _ = env.reset(options={"start": start, "goal": goal})
    (after,) = play(env, step)
    assert after[1:4] == (-1.0, False, False)
    assert after[4]["current"] == start
    assert after[4]["illegal"] is False
    assert (after[0] == picture).all()


def test_the_tenth_step_truncates() -> None:
    steps = play(begun(0, 5), "-" * 10)
    assert [step[1:4] for step in steps] == [(-1.0, False, False)] * 9 + [(-1.0, False, True)]
    assert steps[-1][4]["is_success"] is False


def test_the_tenth_step_can_reach_the_goal() -> None:
    last = play(begun(0, 5), "-----+++++")[-1]
    assert last[1:4] == (1.0, True, False)
    assert last[4]["is_success"] is True


@pytest.mark.parametrize("max_position", [1, 2, 20])
def test_the_line_can_be_shorter_or_longer(max_position: int) -> None:
    steps = play(begun(max_position, 0, max_position=max_position), "+" * 2 * max_position)
    assert [step[3] for step in steps] == [False] * (2 * max_position - 1) + [True]
    assert {step[4]["current"] for step in steps} == {steps[0][4]["max_position"]} == {max_position}
    steps = play(begun(max_position, 0, max_position=max_position), "-" * max_position)
    assert [step[1] for step in steps] == [0.0] * (max_position - 1) + [1.0]


def test_steps_and_rewards_worked_by_hand() -> None:
    assert [moved(position, "-", 5) for position in range(6)] == [0, 0, 1, 2, 3, 4]
    assert [moved(position, "+", 5) for position in range(6)] == [1, 2, 3, 4, 5, 5]
    assert [step_reward(2, after, 4) for after in (1, 2, 3)] == [-1.0, -1.0, 0.0]
    assert [step_reward(3, after, 4) for after in (2, 3, 4)] == [-1.0, -1.0, 1.0]


@given(st.integers(1, 20), st.integers(0, 2**16), st.text("+-", min_size=1, max_size=40))
def test_any_play_obeys_the_rules(max_position: int, seed: int, tokens: str) -> None:
    env = NumberLineEnv(image_size=64, max_position=max_position)
    _, info = env.reset(seed=seed)
    position, goal = info["current"], info["target"]
    for count, token in enumerate(tokens, start=1):
        after = position + (1 if token == "+" else -1)
        if not 0 <= after <= max_position:
            after = position
        ((_, reward, terminated, truncated, info),) = play(env, token)
        assert (info["current"], info["target"], info["distance"]) == (after, goal, abs(goal - after))
        assert terminated == (after == goal)
        assert truncated == (count == 2 * max_position and after != goal)
        assert reward == (1 if after == goal else 0 if abs(goal - after) < abs(goal - position) else -1)
        assert info.get("is_success") == (after == goal if terminated or truncated else None)
        position = after
        if terminated or truncated:
            break


# The draw.


@pytest.mark.parametrize("max_position", [1, 5, 20])
def test_the_pairs_are_all_pairs_of_different_positions(max_position: int) -> None:
    positions = range(max_position + 1)
    pairs = [different_pair(number, max_position) for number in range((max_position + 1) * max_position)]
    assert pairs == [(start, goal) for start in positions for goal in positions if start != goal]


def test_every_pair_is_drawn_equally_often() -> None:
    env = NumberLineEnv(image_size=64)
    infos = [env.start(seed=0 if episode == 0 else None) for episode in range(3000)]
    counts = Counter((info["current"], info["target"]) for info in infos)
    assert len(counts) == 30
    # 100 are expected of each, with a standard deviation of 10.
    assert 60 < min(counts.values()) <= max(counts.values()) < 140
    assert {goal for _, goal in counts} == set(range(6))


def test_a_seed_begins_the_same_episodes_for_ever() -> None:
    # Published results name seeds: whatever changes these is a new version of the environment.
    env = NumberLineEnv()
    infos = [env.reset(seed=0)[1], env.reset()[1], env.reset()[1]]
    assert [(info["current"], info["target"]) for info in infos] == [(5, 0), (3, 5), (3, 0)]


def test_playing_and_given_positions_use_no_randomness() -> None:
    env = NumberLineEnv(max_position=20)
    env.reset(seed=5)
    expected = env.reset()[1]
    env.reset(seed=5)
    play(env, "+-")
    assert env.reset(options={"start": np.int64(2), "goal": 20})[1]["current"] == 2
    np.random.seed(0)  # noqa: NPY002 - the point is that it changes nothing
    assert env.reset(options={})[1]["current"] == expected["current"]


# Info, render, pictures.


def test_info_after_a_reset() -> None:
    _, info = NumberLineEnv().reset(options={"start": 2, "goal": 5})
    mask = info.pop("action_mask")
    assert (mask.dtype, mask.tolist()) == (np.int8, [1, 1])
    assert info == {"target": 5, "current": 2, "max_position": 5, "distance": 3, "illegal": False}
    json.dumps(info)


def test_render_modes() -> None:
    env = begun(render_mode="ansi")
    play(env, "+")
    assert env.render() == "target 5 | current 3 | 0 to 5"
    env = begun(render_mode="rgb_array")
    (step,) = play(env, "+")
    assert np.array_equal(env.render(), step[0])  # type: ignore[arg-type]
    assert begun().render() is None


@pytest.mark.parametrize("theme", STILL)
@pytest.mark.parametrize("max_position", [1, 5, 12, 20])
def test_a_picture_depends_on_the_state_alone(theme: Any, max_position: int) -> None:
    direct = NumberLineEnv(theme=theme, max_position=max_position, image_size=112)
    walked = NumberLineEnv(theme=theme, max_position=max_position, image_size=112)
    walked.reset(options={"start": max_position, "goal": 0})
    for position in range(max_position - 1, -1, -1):
        (step,) = play(walked, "-")
        if position:
            picture, _ = direct.reset(options={"start": position, "goal": 0})
            assert (step[0] == picture).all()


@pytest.mark.parametrize("theme", STILL)
def test_every_state_has_a_picture_of_its_own(theme: Any) -> None:
    env = NumberLineEnv(theme=theme, image_size=64, max_position=20)
    pictures = set()
    for start in range(21):
        for goal in range(21):
            if start != goal:
                pictures.add(env.reset(options={"start": start, "goal": goal})[0].tobytes())
    assert len(pictures) == 21 * 20


def test_in_distorted_pictures_the_look_stays_for_an_episode_and_changes_with_the_next() -> None:
    env = NumberLineEnv(theme="distorted", image_size=112)
    first, _ = env.reset(seed=3, options={"start": 0, "goal": 5})
    (against_the_border,) = play(env, "-")
    assert (against_the_border[0] == first).all()
    second, _ = env.reset(options={"start": 0, "goal": 5})
    assert (second != first).any()


# Options and errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_position": 0}, "max_position=0: expected a whole number from 1 to 20"),
        ({"max_position": 21}, "from 1 to 20"),
        ({"max_position": 5.0}, "from 1 to 20"),
        ({"max_position": True}, "from 1 to 20"),
        ({"max_position": None}, "from 1 to 20"),
    ],
)
def test_a_line_of_another_length_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        NumberLineEnv(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 2, "goal": 2}, "start=2 and goal=2: expected different positions"),
        ({"start": 2}, "without 'goal': expected both"),
        ({"goal": 2}, "without 'start': expected both"),
        ({"start": -1, "goal": 2}, "start=-1: expected a whole number from 0 to 5"),
        ({"start": 1, "goal": 6}, "goal=6: expected a whole number from 0 to 5"),
        ({"start": 1.0, "goal": 2}, "start=1.0"),
        ({"start": "1", "goal": 2}, "start='1'"),
        ({"start": True, "goal": 2}, "start=True"),
        ({"start": 1, "target": 2}, "unknown reset option 'target': there are 'start', 'goal'"),
    ],
)
def test_impossible_reset_options_are_refused_and_leave_the_episode_as_it_was(options: Any, message: str) -> None:
    env = begun()
    with pytest.raises(SettingError, match=message):
        env.reset(options=options)
    assert play(env, "+")[0][4]["current"] == 3
