"""The solver and the random player at every environment, through the protocol; what Blackjack's actions are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gtr_envs.cards.blackjack_strategy import action_values, add_card
from gtr_envs.cards.python_expression import is_python_win
from gtr_envs.episode import Episode, Request, StopReason, play
from gtr_envs.errors import SettingError
from gtr_envs.experts import RandomPolicy, SolverPolicy, winning_formulas
from gtr_envs.protocol import AnswerStatus, write_answer
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env
from tests.envs.every_environment import CASES, IDS


def episodes(policy: Any, env_id: str, count: int, **options: Any) -> list[Episode]:
    return list(play(policy, lambda: make_text_env(env_id, **options), range(count)))


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        ("gtr/Points24-v0", {}),
        ("gtr/Points24-v0", {"face_cards": "rank"}),
        ("gtr/Points24-v0", {"num_cards": 3, "target": 12}),
        ("gtr/Points24-v0", {"num_cards": 2, "target": 11}),
        ("gtr/EZPoints-v0", {}),
        ("gtr/EZPoints-v0", {"rules": "gym_cards"}),
        ("gtr/NumberLine-v0", {}),
        ("gtr/NumberLine-v0", {"max_position": 17}),
    ],
)
def test_the_solver_wins_every_episode_in_form(env_id: str, options: dict[str, Any]) -> None:
    for episode in episodes(SolverPolicy(), env_id, 12, **options):
        assert episode.success, episode
        assert episode.stop is StopReason.TERMINATED
        assert episode.n_illegal == 0
        assert {turn.status for turn in episode.turns} == {AnswerStatus.STRICT}
        assert all(turn.thoughts for turn in episode.turns)


def test_under_the_rules_of_gym_cards_the_solver_knows_floating_point() -> None:
    for episode in episodes(SolverPolicy(), "gtr/Points24-v0", 12, rules="gym_cards"):
        numbers = episode.info["numbers"]
        formulas = winning_formulas(tuple(numbers), 24, task_for("gtr/Points24-v0").actions, as_python=True)
        assert episode.success == bool(formulas)
    # 8 / (3 - 8 / 3) is not 24 there, and there is no other way.
    actions = task_for("gtr/Points24-v0").actions
    assert winning_formulas((3, 3, 8, 8), 24, actions, as_python=False)
    assert not winning_formulas((3, 3, 8, 8), 24, actions, as_python=True)
    assert all(is_python_win(formula, 24) for formula in winning_formulas((1, 5, 5, 5), 24, actions, as_python=True))


@pytest.mark.parametrize("done", [["(", "8", ")"], ["(", "(", "8"], ["8"], []])
def test_the_solver_goes_on_from_what_others_wrote(done: list[str]) -> None:
    env = make_text_env("gtr/Points24-v0", num_cards=3)
    frame, info = env.reset(options={"cards": ["8H", "3S", "AD"]})
    for token in done:
        frame, _, _, _, info = env.step(write_answer({"action": token}))
    reward = 0.0
    while "is_success" not in info:
        request = Request(frame, "", info, env.task, np.random.default_rng(0))
        frame, reward, _, _, info = env.step(SolverPolicy().act([request])[0].text)  # type: ignore[assignment]
    assert reward == 10


@pytest.mark.parametrize(("env_id", "options"), [case for case in CASES if "theme" not in case[1]])
def test_the_random_player_plays_in_form_and_never_what_is_illegal(env_id: str, options: dict[str, Any]) -> None:
    for episode in episodes(RandomPolicy(), env_id, 4, **options):
        assert episode.stop in (StopReason.TERMINATED, StopReason.TRUNCATED)
        assert episode.n_illegal == 0
        assert {turn.status for turn in episode.turns} == {AnswerStatus.STRICT}


@pytest.mark.parametrize(("env_id", "options"), CASES)
def test_the_words_fit_the_environment(env_id: str, options: dict[str, Any]) -> None:
    env = make_text_env(env_id, **options)
    _, info = env.reset(seed=0)
    assert env.task.actions == env.unwrapped.action_names  # type: ignore[attr-defined]
    assert env.task.keys[-2:] == ("thoughts", "action")
    prompt = env.task.prompt(info)
    assert all(f'"{key}"' in prompt for key in env.task.keys)
    assert str(options.get("target", "")) in prompt


def test_the_prompt_of_the_usual_game_is_the_one_that_agents_were_trained_on() -> None:
    assert task_for("gtr/Points24-v0").prompt({"formula": ("7", "*")}) == (
        "You are playing the 24 game. The picture shows four cards and, below them, the formula so far. An A counts 1; "
        "J, Q and K count 10. Add one token a turn to the formula so that it uses each card exactly once and equals "
        "24, then play '='. The tokens are 1 2 3 4 5 6 7 8 9 10 + - * / ( ) =. Answer with one JSON object: "
        '{"cards": [the four values], "formula": "the formula so far", "thoughts": "how to reach 24 from here", '
        '"action": "the next token"}.\nFormula so far: 7 *'
    )


@pytest.mark.parametrize("options", [{"copy": False}, {"render_mode": "rgb_array"}])
def test_what_would_spoil_an_evaluation_is_no_option_of_it(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="not for environments that are played by answers"):
        make_text_env("gtr/Points24-v0", **options)


@pytest.mark.parametrize("env_id", IDS)
def test_invalid_answers_end_at_the_turn_limit(env_id: str) -> None:
    env = make_text_env(env_id)
    env.reset(seed=0)
    for turn in range(1, env.task.max_turns + 1):
        _, _, terminated, truncated, _ = env.step("no idea")
        assert (terminated, truncated) == (False, turn == env.task.max_turns)


# Blackjack.


@pytest.mark.parametrize(
    ("total", "usable", "value", "after"),
    [
        (12, False, 10, (22, False)),
        (12, True, 10, (12, False)),
        (10, False, 1, (21, True)),
        (11, False, 1, (12, False)),
        (20, True, 1, (21, True)),
        (21, True, 1, (12, False)),
        (0, False, 1, (11, True)),
    ],
)
def test_adding_a_card(total: int, usable: bool, value: int, after: tuple[int, bool]) -> None:
    assert add_card(total, usable, value) == after


def test_the_best_play_is_that_of_sutton_and_bartos_figure() -> None:
    def sticks(total: int, usable: bool, dealer: int) -> bool:
        stick, hit = action_values(total, usable, dealer)
        return stick >= hit

    # Figure 5.2: without a usable ace stick from 17; from 13 against 2 to 6, from 12 against 4 to 6.
    for dealer in range(1, 11):
        hard = next(total for total in range(12, 22) if sticks(total, False, dealer))
        assert hard == (12 if 4 <= dealer <= 6 else 13 if dealer in (2, 3) else 17)
        soft = next(total for total in range(12, 22) if sticks(total, True, dealer))
        assert soft == (19 if dealer in (1, 9, 10) else 18)


def test_the_solvers_return_at_blackjack_is_what_it_expects() -> None:
    # The value of the game before the deal, from the value of each start.
    values = [min(rank, 10) for rank in range(1, 14)]
    expected = 0.0
    for first in values:
        for second in values:
            start = add_card(*add_card(0, False, first), second)
            expected += sum(max(action_values(*start, dealer)) for dealer in values) / 13**3
    assert expected == pytest.approx(-0.0467, abs=0.0005)  # known for these rules
    played = episodes(SolverPolicy(), "gtr/Blackjack-v0", 1500)
    returns = np.array([episode.episode_return for episode in played])
    assert abs(returns.mean() - expected) < 5 * returns.std() / len(returns) ** 0.5
    random = np.array([episode.episode_return for episode in episodes(RandomPolicy(), "gtr/Blackjack-v0", 400)])
    assert returns.mean() > random.mean()
