"""gtr/Points24-v0: the rules, the contract with Gymnasium, seeding, options and errors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gtr_envs
from gtr_envs.cards.draw import draw_frame
from gtr_envs.cards.formula import distance, evaluate
from gtr_envs.cards.points24 import ACTIONS, MAX_ACTIONS, Points24Env
from gtr_envs.errors import ActionError, GtrError, HandError, SettingError

ENV_ID = "gtr/Points24-v0"
HAND = ["AH", "10S", "KD", "4C"]  # 1 * 4 + 10 + 10

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]


def play(env: gym.Env[Any, Any], tokens: Sequence[str]) -> list[Step]:
    return [env.step(np.int64(ACTIONS.index(token))) for token in tokens]  # type: ignore[misc]


def dealt(cards: Sequence[str] = HAND, **options: Any) -> Points24Env:
    env = Points24Env(**options)
    env.reset(options={"cards": list(cards)})
    return env


def same_steps(first: Step, second: Step) -> bool:
    infos = [{**step[4], "action_mask": step[4]["action_mask"].tolist()} for step in (first, second)]
    return bool((first[0] == second[0]).all()) and first[1:4] == second[1:4] and infos[0] == infos[1]


# Contract with Gymnasium.


def test_made_with_the_default_wrappers_it_plays_without_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ENV_ID, render_mode="rgb_array")
        observation, info = env.reset(seed=1)
        env.action_space.seed(1)
        ended = False
        while not ended:
            assert env.observation_space.contains(observation)
            observation, _, terminated, truncated, info = env.step(env.action_space.sample(mask=info["action_mask"]))
            assert (env.render() == observation).all()
            ended = terminated or truncated
        env.close()
    assert "is_success" in info


def test_the_id_can_name_the_module_and_registering_twice_is_harmless() -> None:
    assert isinstance(gym.make("gtr_envs:gtr/Points24-v0").unwrapped, Points24Env)
    assert gym.spec(ENV_ID).entry_point == "gtr_envs.cards.points24:Points24Env"
    assert gtr_envs.__version__ == "0.1.0"


def test_vector_environments_carry_infos_with_and_without_a_distance() -> None:
    env = gym.make_vec(ENV_ID, num_envs=2, vectorization_mode="sync")
    _, infos = env.reset(seed=3)
    assert [int(value) for value in infos["distance"]] == [len(plan) for plan in _plans(env)]
    # ")" ends all hope in one of them.
    _, _, _, _, infos = env.step(np.array([ACTIONS.index("("), ACTIONS.index(")")]))
    assert infos["distance"][0] is not None
    assert infos["distance"][1] is None
    assert infos["action_mask"].shape == (2, 17)


def _plans(env: Any) -> list[tuple[str, ...]]:
    return [single.unwrapped._plan for single in env.envs]


# Rules.


def test_a_win() -> None:
    steps = play(dealt(), ["1", "*", "4", "+", "10", "+", "10", "="])
    assert [step[1] for step in steps] == [0, 0, 0, 0, 0, 0, 0, 10]
    assert [step[2] for step in steps] == [False] * 7 + [True]
    assert not any(step[3] for step in steps)
    assert [step[4]["distance"] for step in steps] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert steps[-1][4]["is_success"] is True
    assert all("is_success" not in step[4] for step in steps[:-1])


def test_fractions_count_exactly() -> None:
    env = dealt(["3S", "3H", "8S", "8H"])
    *_, last = play(env, ["8", "/", "(", "3", "-", "8", "/", "3", ")", "="])
    assert last[1:4] == (10.0, True, False)


@pytest.mark.parametrize(
    "formula",
    [
        "=",
        "1 =",
        "10 + 10 + 4 =",  # 24, but not from all four cards
        "1 + 4 + 10 + 10 =",  # all cards, but 25
        "1 * 4 + 10 + 10 + =",  # unreadable
        "( 1 * 4 + 10 + 10 =",  # not closed
        "1 / ( 10 - 10 ) + 4 =",  # divides by zero
        "- 1 + 4 + 10 + 10 =",  # unary sign
        "1 ( 4 ) + 10 + 10 =",  # implied product
    ],
)
def test_a_wrong_equals_sign_costs_one_and_ends_the_episode(formula: str) -> None:
    *before, last = play(dealt(), formula.split())
    assert all(step[1] == 0 and not step[2] for step in before)
    assert last[1:4] == (-1.0, True, False)
    assert last[4]["is_success"] is False
    assert last[4]["illegal"] is False
    assert last[4]["distance"] is None


@pytest.mark.parametrize(
    ("legal", "illegal"),
    [
        ([], "7"),  # not in the hand
        (["1", "+"], "1"),  # its only copy is used
        (["10", "+", "10", "+"], "10"),  # both copies are used
        (["1"], "4"),  # directly after a number: no 14
        (["1"], "10"),
    ],
)
def test_an_illegal_number_costs_one_and_changes_nothing_else(legal: list[str], illegal: str) -> None:
    env = dealt()
    observation, _ = env.reset(options={"cards": HAND})
    state = distance([], (1, 10, 10, 4))
    for step in play(env, legal):
        observation, state = step[0], step[4]["distance"]
    (after,) = play(env, [illegal])
    assert after[1:4] == (-1.0, False, False)
    assert (after[0] == observation).all()
    assert after[4]["formula"] == tuple(legal)
    assert after[4]["illegal"] is True
    assert after[4]["distance"] == state
    assert "is_success" not in after[4]


def test_an_illegal_number_ends_the_episode_if_asked_to() -> None:
    (step,) = play(dealt(illegal="terminate"), ["7"])
    assert step[1:4] == (-1.0, True, False)
    assert step[4]["is_success"] is False


def test_two_equal_cards_can_both_be_used_and_a_number_may_follow_a_parenthesis() -> None:
    steps = play(dealt(), ["10", "+", "10", ")", "4"])
    assert not any(step[4]["illegal"] for step in steps)


@pytest.mark.parametrize("token", ["7", "("])
def test_the_twenty_first_action_truncates(token: str) -> None:
    steps = play(dealt(), [token] * (MAX_ACTIONS + 1))
    assert [step[3] for step in steps] == [False] * MAX_ACTIONS + [True]
    assert not any(step[2] for step in steps)
    assert steps[-1][4]["is_success"] is False
    assert len(steps[-1][4]["formula"]) == (0 if token == "7" else MAX_ACTIONS + 1)


def test_an_equals_sign_as_the_twenty_first_action_terminates() -> None:
    last = play(dealt(), ["7"] * 13 + ["1", "*", "4", "+", "10", "+", "10", "="])[-1]
    assert last[1:4] == (10.0, True, False)


@given(st.lists(st.sampled_from(ACTIONS), max_size=MAX_ACTIONS + 1), st.integers(0, 2**16), st.booleans())
def test_any_play_obeys_the_rules(tokens: list[str], seed: int, ends_on_illegal: bool) -> None:
    env = Points24Env(hands="all", illegal="terminate" if ends_on_illegal else "continue")
    _, info = env.reset(seed=seed)
    numbers, formula = info["numbers"], []
    for count, token in enumerate(tokens, start=1):
        mask = info["action_mask"]
        used = formula.count(token) >= numbers.count(int(token)) if token.isdigit() else False
        illegal = token.isdigit() and (used or (bool(formula) and formula[-1].isdigit()))
        assert bool(mask[ACTIONS.index(token)]) == (not illegal)
        (step,) = play(env, [token])
        observation, reward, terminated, truncated, info = step
        won = (
            token == "="
            and evaluate(formula) == 24
            and sorted(numbers) == sorted(int(t) for t in formula if t.isdigit())
        )
        formula += [] if illegal else [token]
        assert info["formula"] == tuple(formula)
        assert info["illegal"] == illegal
        assert info["distance"] == distance(formula, numbers)
        assert (observation == draw_frame(info["cards"], formula)).all()
        assert reward == (10 if won else -1 if illegal or token == "=" else 0)
        assert terminated == (token == "=" or (illegal and ends_on_illegal))
        assert truncated == (count == MAX_ACTIONS + 1 and not terminated)
        assert info.get("is_success") == (won if terminated or truncated else None)
        if terminated or truncated:
            break


# Seeding, copies, observations.


def test_twin_seeds_give_twin_episodes_and_other_seeds_other_ones() -> None:
    first, second, third = Points24Env(hands="all"), Points24Env(hands="all"), Points24Env(hands="all")
    hands: list[list[tuple[str, ...]]] = [[], [], []]
    rng = np.random.default_rng(0)
    for env, seed, seen in zip((first, second, third), (7, 7, 8), hands, strict=True):
        seen.append(env.reset(seed=seed)[1]["cards"])
    for _ in range(30):
        actions = rng.integers(0, 16, size=8)
        for action in actions:
            steps = [env.step(action) for env in (first, second)]
            assert same_steps(*steps)
            if steps[0][2] or steps[0][3]:
                break
        for env, seen in zip((first, second, third), hands, strict=True):
            seen.append(env.reset()[1]["cards"])
    assert hands[0] == hands[1]
    assert hands[0] != hands[2]
    assert len(set(hands[0])) > 25


def test_a_seed_deals_the_same_hands_for_ever() -> None:
    # Published results name seeds: whatever changes these hands is a new version of the environment.
    env = Points24Env()
    assert env.reset(seed=0)[1]["cards"] == ("QC", "9S", "7D", "4D")
    assert env.reset()[1]["cards"] == ("JS", "7H", "5D", "5S")
    assert Points24Env(hands="all", split="test").reset(seed=0)[1]["cards"] == ("7C", "8S", "KD", "10D")


def test_only_the_environments_own_generator_is_used() -> None:
    env = Points24Env()
    env.reset(seed=5)
    expected = [env.reset()[1]["cards"] for _ in range(5)]
    env.reset(seed=5)
    np.random.seed(0)  # noqa: NPY002 - the point is that it changes nothing
    assert [env.reset()[1]["cards"] for _ in range(5)] == expected


def test_playing_does_not_change_what_is_dealt_next() -> None:
    env = Points24Env()
    env.reset(seed=5)
    expected = env.reset()[1]["cards"]
    env.reset(seed=5)
    play(env, ["(", "(", "7"])
    assert env.reset()[1]["cards"] == expected


# Info and render.


def test_info_after_a_reset() -> None:
    env = Points24Env()
    observation, info = env.reset(options={"cards": HAND})
    assert info["cards"] == ("AH", "10S", "KD", "4C")
    assert info["numbers"] == (1, 10, 10, 4)
    assert info["formula"] == ()
    assert info["action_mask"].dtype == np.int8
    assert info["action_mask"].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 1] + [1] * 7
    assert info["solvable"] is True
    assert info["hand_split"] in ("train", "test")
    assert info["distance"] == 8
    assert info["illegal"] is False
    assert "is_success" not in info
    assert (observation == draw_frame(HAND)).all()
    json.dumps({key: value for key, value in info.items() if key != "action_mask"})


def test_an_unsolvable_hand_says_so() -> None:
    _, info = Points24Env().reset(options={"cards": ["AS", "AH", "AD", "AC"]})
    assert info["solvable"] is False
    assert info["distance"] is None


def test_render_modes() -> None:
    env = dealt(render_mode="ansi")
    play(env, ["(", "1"])
    assert env.render() == "AH 10S KD 4C | ( 1"
    env = dealt(render_mode="rgb_array")
    (step,) = play(env, ["("])
    assert (env.render() == step[0]).all()
    assert dealt().render() is None


# Options and errors.


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("hands", ["solvable", "all"])
def test_deals_follow_the_options(hands: Any, split: Any) -> None:
    env = Points24Env(hands=hands, split=split)
    infos = [env.reset(seed=seed)[1] for seed in range(60)]
    assert {info["hand_split"] for info in infos} == {split}
    assert {info["solvable"] for info in infos} == ({True} if hands == "solvable" else {True, False})


def test_given_cards_are_dealt_whatever_the_filter_says_and_use_no_randomness() -> None:
    env = Points24Env(hands="solvable", split="train")
    env.reset(seed=9)
    expected = env.reset()[1]["cards"]
    env.reset(seed=9)
    assert env.reset(options={"cards": ("AS", "AH", "AD", "AC")})[1]["cards"] == ("AS", "AH", "AD", "AC")
    assert env.reset(options={})[1]["cards"] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"illegal": "stop"}, "illegal='stop': expected one of 'continue', 'terminate'"),
        ({"hands": "hard"}, "hands='hard': expected one of 'solvable', 'all'"),
        ({"split": None}, "split=None: expected one of 'all', 'train', 'test'"),
        ({"rules": "loose"}, "rules='loose': expected one of 'strict', 'gym_cards'"),
        ({"num_cards": 6}, "num_cards=6: expected a whole number from 2 to 5"),
        ({"num_cards": 4.0}, "num_cards=4.0"),
        ({"target": 0}, "target=0: expected a whole number from 1 to 1000"),
        ({"target": True}, "target=True"),
        ({"face_cards": 10}, "face_cards=10: expected one of 'ten', 'rank'"),
    ],
)
def test_unknown_option_values_name_what_is_allowed(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Points24Env(**options)


@pytest.mark.parametrize("options", [{"card": HAND}, {"cards": HAND, "hands": "all"}])
def test_unknown_reset_options_are_refused(options: Any) -> None:
    with pytest.raises(SettingError, match="the only one is 'cards'"):
        Points24Env().reset(options=options)


@pytest.mark.parametrize("cards", [["AH"], ["AH", "AH", "KD", "4C"], ["AH", "1S", "KD", "4C"], "AH", []])
def test_impossible_cards_are_refused_and_leave_the_episode_as_it_was(cards: Any) -> None:
    env = dealt()
    play(env, ["1"])
    with pytest.raises(HandError):
        env.reset(options={"cards": cards})
    assert play(env, ["+"])[0][4]["formula"] == ("1", "+")


@pytest.mark.parametrize(
    ("options", "cards", "message"),
    [
        ({"num_cards": 2}, ["AH"], r"a hand has 2 cards, not 1"),
        ({"num_cards": 2}, 7, r"a list of 2 cards such as \['AH', '10S'\]"),
        ({"num_cards": 5}, HAND, r"a hand has 5 cards, not 4"),
        ({}, ["AH", "AH", "KD", "4C"], "same card twice"),
        ({}, None, "a list of 4 cards"),
    ],
)
def test_hands_must_fit_the_game(options: dict[str, Any], cards: Any, message: str) -> None:
    with pytest.raises(HandError, match=message):
        Points24Env(**options).reset(options={"cards": cards})


def test_other_games_are_played_by_the_same_rules() -> None:
    env = Points24Env(face_cards="rank", target=25)
    _, info = env.reset(options={"cards": ["JH", "KS", "AD", "AC"]})
    assert info["numbers"] == (11, 13, 1, 1)
    assert info["action_mask"].tolist() == [1] + [0] * 9 + [1, 0, 1] + [1] * 7
    said: Any = None
    for token in ("11", "+", "13", "+", "1", "*", "1", "="):
        said = env.step(np.int64(env.action_names.index(token)))
    assert said[1:4] == (10.0, True, False)
    assert Points24Env(rules="gym_cards").reset(options={"cards": ["AH"] * 4})[1]["cards"] == ("AH",) * 4


def test_which_hands_are_dealt_depends_on_the_rules() -> None:
    assert (Points24Env().hands, Points24Env(rules="gym_cards").hands) == ("solvable", "all")
    assert Points24Env(rules="gym_cards", hands="solvable").hands == "solvable"


def test_the_named_errors_are_also_the_standard_ones() -> None:
    for error in (SettingError, ActionError, HandError):
        assert issubclass(error, GtrError)
        assert issubclass(error, ValueError)
