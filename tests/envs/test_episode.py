"""The multi-turn loop, the wrapper for answers, the experts."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gtr_envs.episode import EVAL_SEED_BASE, Request, Response, Seat, StopReason, episode_seeds, play
from gtr_envs.errors import SettingError, UnknownEnvironmentError
from gtr_envs.experts import RandomPolicy, SolverPolicy
from gtr_envs.protocol import AnswerStatus
from gtr_envs.text_actions import TextActions, make_text_env

POINTS24 = "gtr/Points24-v0"


def make() -> TextActions:
    return make_text_env(POINTS24)


class Says:
    """Says the same always."""

    name = "parrot"

    def __init__(self, text: str) -> None:
        self.text = text

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self.text, tokens=3, thought_tokens=2) for _ in requests]


@pytest.mark.parametrize("thoughts", ["chain", "search"])
@pytest.mark.parametrize("vary", [False, True])
def test_the_solver_wins_every_solvable_hand_in_strict_answers(thoughts: str, vary: bool) -> None:
    episodes = list(play(SolverPolicy(thoughts, vary), make, range(60), batch_size=16))  # type: ignore[arg-type]
    assert len(episodes) == 60
    assert all(episode.success and episode.episode_return == 10 for episode in episodes)
    assert {turn.status for episode in episodes for turn in episode.turns} == {AnswerStatus.STRICT}


def test_the_solver_gives_up_at_once_where_there_is_no_way() -> None:
    env = make_text_env(POINTS24, hands="all")
    seat = Seat(env)
    seat.start(0)
    seat.frame, seat.info = env.reset(seed=0, options={"cards": ["AH", "AS", "AD", "AC"]})
    seat.apply(SolverPolicy().act([seat.request()])[0])
    assert seat.terminated
    assert not seat.episode().success


@pytest.mark.parametrize("policy", [RandomPolicy(), SolverPolicy(vary=True)], ids=["random", "solver"])
def test_episodes_do_not_depend_on_the_batch(policy: RandomPolicy | SolverPolicy) -> None:
    def texts(batch_size: int) -> dict[int, list[str]]:
        episodes = play(policy, make, range(20), batch_size=batch_size)
        return {episode.seed: [turn.text for turn in episode.turns] for episode in episodes}

    assert texts(1) == texts(7) == texts(64)


def test_the_policy_seed_changes_the_random_agent_and_nothing_else() -> None:
    first, second = (
        [next(play(RandomPolicy(), make, [5], policy_seed=policy_seed)) for policy_seed in (1, 2)] for _ in range(2)
    )
    assert first == second
    assert first[0].info == first[1].info
    assert [turn.text for turn in first[0].turns] != [turn.text for turn in first[1].turns]


def test_an_invalid_answer_costs_one_and_leaves_the_state() -> None:
    (episode,) = play(Says("no idea"), make, [3], keep_frames=True)
    assert episode.stop is StopReason.TRUNCATED
    assert (episode.steps, episode.n_invalid, episode.episode_return) == (21, 21, -21)
    assert (episode.tokens, episode.thought_tokens) == (63, 42)
    assert all(np.array_equal(turn.frame, episode.turns[0].frame) for turn in episode.turns)
    assert len({turn.prompt for turn in episode.turns}) == 1
    assert not episode.success


def test_an_invalid_answer_can_play_a_random_action() -> None:
    runs = [list(play(Says("no idea"), lambda: make_text_env(POINTS24, "random"), range(8))) for _ in range(2)]
    assert runs[0] == runs[1]
    assert all(episode.n_invalid == episode.steps and episode.n_illegal == 0 for episode in runs[0])
    assert any(len({turn.prompt for turn in episode.turns}) > 1 for episode in runs[0])


def test_an_invalid_answer_after_an_illegal_one_is_not_illegal_again() -> None:
    env = make_text_env(POINTS24)
    env.reset(seed=0, options={"cards": ["2H", "2S", "3D", "4C"]})
    *_, info = env.step('{"cards": [], "formula": "", "thoughts": "", "action": "9"}')
    assert info["illegal"]
    *_, info = env.step("?")
    assert not info["illegal"]


def test_illegal_numbers_are_counted() -> None:
    (episode,) = play(Says('{"cards": [], "formula": "", "thoughts": "", "action": "9"}'), make, [1])
    assert episode.n_illegal >= 20
    assert episode.stop is StopReason.TRUNCATED


class Breaks(gym.Wrapper):  # type: ignore[type-arg]
    """Fails at its second step."""

    steps = 0

    def step(self, action: int):  # type: ignore[no-untyped-def]
        self.steps += 1
        if self.steps == 2:
            raise RuntimeError("the lights went out")
        return super().step(action)


def test_a_crashed_episode_is_reported_and_the_others_go_on() -> None:
    made = []

    def fragile() -> TextActions:
        env = make()
        if not made:
            env.env = Breaks(env.env)
        made.append(env)
        return env

    episodes = {episode.seed: episode for episode in play(SolverPolicy(), fragile, range(4), batch_size=1)}
    assert sorted(episodes) == [0, 1, 2, 3]
    assert episodes[0].stop is StopReason.CRASHED
    assert episodes[0].error == "RuntimeError: the lights went out"
    assert not episodes[0].success
    assert all(episodes[seed].success for seed in (1, 2, 3))
    assert len(made) == 2, "a crashed environment is not used again"


class BreaksAtReset(gym.Wrapper):  # type: ignore[type-arg]
    """Fails at its second reset, and then at being closed."""

    resets = 0

    def reset(self, **keywords: Any):  # type: ignore[no-untyped-def]
        self.resets += 1
        if self.resets == 2:
            raise RuntimeError("no cards")
        return super().reset(**keywords)

    def close(self) -> None:
        super().close()
        if self.resets == 2:
            raise RuntimeError("it is stuck")


def test_an_environment_whose_reset_fails_is_closed_and_not_used_again() -> None:
    made = []

    def fragile() -> TextActions:
        env = make()
        if not made:
            env.env = BreaksAtReset(env.env)
        made.append(env)
        return env

    episodes = {episode.seed: episode for episode in play(SolverPolicy(), fragile, range(4), batch_size=1)}
    assert sorted(episodes) == [0, 1, 2, 3]
    assert (episodes[1].stop, episodes[1].error) == (StopReason.CRASHED, "RuntimeError: no cards")
    assert (episodes[1].turns, episodes[1].info) == ((), {}), "nothing of the episode before"
    assert all(episodes[seed].success for seed in (0, 2, 3))
    assert len(made) == 2
    assert made[0].env.resets == 2


def test_no_more_environments_are_made_than_are_needed() -> None:
    made = []

    def counted() -> TextActions:
        made.append(make())
        return made[-1]

    assert len(list(play(SolverPolicy(), counted, range(5), batch_size=3))) == 5
    assert len(made) == 3


def test_a_policy_that_fails_is_not_hidden() -> None:
    class Fails:
        name = "fails"

        def act(self, requests: Sequence[Request]) -> list[Response]:
            raise ValueError("no model")

    with pytest.raises(ValueError, match="no model"):
        list(play(Fails(), make, [0]))


def test_evaluation_seeds_are_their_own() -> None:
    assert episode_seeds(0, 2) == (EVAL_SEED_BASE, EVAL_SEED_BASE + 1)
    assert not set(episode_seeds(0, 1000)) & set(episode_seeds(1, 1000))


def test_unknown_environments_and_options_are_named() -> None:
    with pytest.raises(UnknownEnvironmentError, match=r"gtr/Chess-v0.*gtr/Points24-v0"):
        make_text_env("gtr/Chess-v0")
    with pytest.raises(SettingError, match="colour"):
        make_text_env(POINTS24, colour="blue")
    with pytest.raises(SettingError, match="shrug"):
        make_text_env(POINTS24, "shrug")  # type: ignore[arg-type]
