"""Environments that are taken up in mid-episode go on exactly as they would have."""

import dataclasses
import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gtr_agent import rollout
from gtr_agent.config import load_settings
from gtr_agent.mid_episode import EnvironmentChangedError
from gtr_agent.rollout import Collector
from gtr_agent.settings import Settings
from gtr_envs.episode import Request, Response
from gtr_envs.errors import CheckpointError
from gtr_envs.tasks import Task

needs_alfworld = pytest.mark.skipif(importlib.util.find_spec("alfworld") is None, reason="alfworld is not installed")
ALFWORLD = {"data": "generated", "image_size": 64, "illegal": "random", "max_steps": 6}

GAMES = {
    "points24": ("gtr/Points24-v0", {"image_size": 64}),
    "points24 of gym_cards": ("gtr/Points24-v0", {"rules": "gym_cards", "hands": "all", "image_size": 64}),
    "points24 distorted": ("gtr/Points24-v0", {"theme": "distorted", "image_size": 64}),
    "blackjack": ("gtr/Blackjack-v0", {"image_size": 64}),
    "number line": ("gtr/NumberLine-v0", {}),
    "alfworld": ("gtr/ALFWorld-v0", ALFWORLD),
}
CASES = [
    pytest.param(name, invalid, id=f"{name}-{invalid}", marks=needs_alfworld if name == "alfworld" else ())
    for name in GAMES
    for invalid in ("penalty", "random")
]


def answer(request: Request) -> Response:
    """Nonsense, an action that the environment does not know, or one that it allows; from the request's generator."""
    kind = request.rng.random()
    names = request.task.legal(request.info)
    action = names[int(request.rng.integers(len(names)))]
    if kind < 0.2:
        return Response("I do not know \ud83c.", 5, 5)
    if kind < 0.3:
        action = "dance with the fridge"
    return Response(json.dumps({"thoughts": f"why not {action}", "action": action}), 9, 4)


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model: the answers follow from the questions."""

    def answers(_: Any, __: Any, requests: Sequence[Request], *___: Any) -> list[Response]:
        return [answer(request) for request in requests]

    monkeypatch.setattr(rollout, "answer_requests", answers)
    monkeypatch.setattr(rollout, "encode_requests", lambda _, __, requests, *___: [None] * len(requests))


def make(game: str, invalid: str = "penalty", turns: int = 7) -> Collector:
    env_id, options = GAMES[game]
    sizes = [f"rollout.num_envs={2 if game == 'alfworld' else 5}", f"rollout.turns={turns}", "ppo.batch_size=2"]
    base = load_settings("tiny-points24", overrides=sizes)
    env = base.env.model_copy(update={"id": env_id, "invalid": invalid, "options": options})
    settings: Settings = base.model_copy(update={"env": env})
    return Collector(settings, None, None, None, keep_requests=True)  # type: ignore[arg-type]


def same(one: Any, two: Any) -> bool:
    """Whether two nested values are equal, pictures and records too."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        return np.array_equal(one, two)
    if isinstance(one, np.random.Generator):
        return same(one.bit_generator.state, two.bit_generator.state)
    if isinstance(one, Task):
        return vars(one).keys() == vars(two).keys()
    if dataclasses.is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(two, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


def shown(collector: Collector) -> list[Any]:
    """All that decides how the environments go on."""
    return [
        (
            *(seat.seed, seat.frame, seat.info, seat.start_info, seat.turns, seat.done),
            *(seat.env._random, seat.env._turns, seat.env.unwrapped.np_random),
        )
        for seat in collector.seats
    ]


@pytest.mark.parametrize(("game", "invalid"), CASES)
def test_what_is_collected_after_a_restart_is_the_same(game: str, invalid: str) -> None:
    going = make(game, invalid)
    going.collect()
    while not any(len(seat.turns) > 1 for seat in going.seats):  # until some episode is well under way
        going.collect()
    state = json.loads(json.dumps(going.state()))

    fresh = make(game, invalid)
    fresh.load_state(state)
    assert same(shown(fresh), shown(going))
    assert fresh.state() == going.state()
    for _ in range(2):
        one, two = going.collect(), fresh.collect()
        assert same(
            [(t.turn, t.reward, t.request) for t in one.flat()], [(t.turn, t.reward, t.request) for t in two.flat()]
        )
        assert same(one.episodes, two.episodes)
        assert same(shown(fresh), shown(going))
    going.close()
    fresh.close()


def saved(turns: int = 7) -> dict[str, Any]:
    collector = make("points24", turns=turns)
    collector.collect()
    return json.loads(json.dumps(collector.state()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("reward", 7.0, r"has in turn 1 reward -?\d\S* instead of 7\.0"),
        ("action", "=", "action .* instead of '='"),
        ("status", "repaired", "status"),
    ],
)
def test_an_environment_that_plays_otherwise_is_named(field: str, value: Any, message: str) -> None:
    state = saved(turns=2)
    state["seats"][0]["turns"][0][field] = value
    with pytest.raises(EnvironmentChangedError, match=message) as caught:
        make("points24", turns=2).load_state(state)
    assert "put back the games" in str(caught.value)
    state["versions"]["gtr-bench"] = "0.0.9"
    with pytest.raises(EnvironmentChangedError, match=r"install .*gtr-bench 0\.0\.9 \(now"):
        make("points24", turns=2).load_state(state)


def test_another_picture_is_named() -> None:
    state = saved()
    state["seats"][1]["picture"] = "0" * 16
    with pytest.raises(EnvironmentChangedError, match="another picture"):
        make("points24").load_state(state)


def test_an_episode_that_ends_sooner_is_named() -> None:
    state = saved(turns=2)
    last = state["seats"][0]["turns"][-1]
    last["text"] = json.dumps({"thoughts": "", "action": "="})
    last |= {"status": "repaired", "action": "=", "reward": -1.0, "illegal": False}
    with pytest.raises(EnvironmentChangedError, match="ends with turn 2"):
        make("points24", turns=2).load_state(state)
    state["seats"][0]["turns"].append(dict(last))
    with pytest.raises(EnvironmentChangedError, match="ends before turn 3"):
        make("points24", turns=2).load_state(state)


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = saved()
    with pytest.raises(CheckpointError, match=r"resume with rollout\.num_envs=2"):
        make("points24").load_state({**state, "seats": state["seats"][:2]})
    with pytest.raises(CheckpointError, match="next_seed"):
        make("points24").load_state({"seats": []})
    with pytest.raises(CheckpointError, match="damaged"):
        make("points24").load_state({**state, "seats": [{"seed": 1}] * 5})
