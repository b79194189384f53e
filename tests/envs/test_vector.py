"""The native vector environments against Gymnasium's own `SyncVectorEnv`, which steps the same environments."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st

from gtr_envs.cards import frame_copy
from gtr_envs.cards.vector import TableVectorEnv, stack_infos
from gtr_envs.errors import ActionError, HandError, SettingError
from tests.envs.every_environment import CASES, IDS, LOOKS, equal

POINTS24 = "gtr/Points24-v0"
each_id = pytest.mark.parametrize("env_id", IDS)


def native(env_id: str = POINTS24, num_envs: int = 3, **options: Any) -> TableVectorEnv:
    envs = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **options)
    assert isinstance(envs, TableVectorEnv)
    return envs


def one_by_one(env_id: str, num_envs: int, mode: str, **options: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gym.make(env_id, **options).unwrapped] * num_envs, autoreset_mode=mode)


def same_infos(first: Any, second: Any) -> bool:
    """Whether infos are the same, element for element of object arrays; the order of the keys is free."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same_infos(first[key], second[key]) for key in first)
    if isinstance(first, np.ndarray) and first.dtype == object:
        return second.dtype == object and all(map(same_infos, first, second))
    return equal(first, second)


def same_steps(first: Any, second: Any) -> bool:
    return equal(tuple(first[:-1]), tuple(second[:-1])) and same_infos(first[-1], second[-1])


HOW = [(mode, copied) for mode in ("NextStep", "SameStep") for copied in ("at the end", "meanwhile")]
"""When environments are reset, and both ways in which a batch is copied."""


def how_to_play() -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Every case with every mode and both copies; a look, which no rule depends on, only with each of them once."""
    for place, (env_id, options) in enumerate(CASES):
        several = HOW if options not in LOOKS else (HOW[::3], HOW[1:3])[place % 2]
        yield from ((env_id, options, *how) for how in several)


@pytest.mark.parametrize(("env_id", "options", "mode", "copied"), list(how_to_play()))
def test_it_says_what_the_same_environments_say_one_by_one(
    env_id: str, options: dict[str, Any], mode: str, copied: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if copied == "meanwhile":  # small batches as large ones are on a machine with two processors
        monkeypatch.setattr(frame_copy, "LARGE", 0)
        monkeypatch.setattr(frame_copy, "_processors", lambda: 2)
    ours, oracle = native(env_id, 3, autoreset_mode=mode, **options), one_by_one(env_id, 3, mode, **options)
    random = np.random.default_rng(1)
    assert same_steps(ours.reset(seed=7), oracle.reset(seed=7))
    ended = 0
    for _ in range(20):
        actions = random.integers(ours.single_action_space.n, size=3)  # type: ignore[attr-defined]
        said = ours.step(actions)
        assert same_steps(said, oracle.step(actions))
        ended += int((said[2] | said[3]).sum())
    assert ended > 0
    assert same_steps(ours.reset(), oracle.reset())
    assert same_steps(ours.reset(seed=[4, None, 2]), oracle.reset(seed=[4, None, 2]))


def test_sixty_four_of_them_say_what_they_say_one_by_one() -> None:
    ours, oracle = native(num_envs=64), one_by_one(POINTS24, 64, "NextStep")
    random = np.random.default_rng(1)
    assert same_steps(ours.reset(seed=7), oracle.reset(seed=7))
    for _ in range(12):
        actions = random.integers(17, size=64)
        assert same_steps(ours.step(actions), oracle.step(actions))


def test_a_reset_by_hand_after_the_end_begins_one_episode_not_two() -> None:
    ours, oracle = native(num_envs=2), one_by_one(POINTS24, 2, "NextStep")
    for envs in (ours, oracle):
        envs.reset(seed=3)
    ends, goes_on = np.array([16, 14]), np.array([14, 14])
    for actions in (ends, None, goes_on, goes_on):
        results = [envs.reset() if actions is None else envs.step(actions) for envs in (ours, oracle)]
        assert same_steps(*results)
    assert ours.get_attr("_formula") == (("(", "("), ("(", "("))


@each_id
def test_without_autoreset_the_user_resets_those_that_ended(env_id: str) -> None:
    ours, oracle = native(env_id, 4, autoreset_mode="Disabled"), one_by_one(env_id, 4, "Disabled")
    random = np.random.default_rng(2)
    assert same_steps(ours.reset(seed=1), oracle.reset(seed=1))
    partial_resets = 0
    for _ in range(60):
        actions = random.integers(ours.single_action_space.n, size=4)  # type: ignore[attr-defined]
        said = ours.step(actions)
        assert same_steps(said, oracle.step(actions))
        ended = said[2] | said[3]
        if ended.any():
            partial_resets += not ended.all()
            with pytest.raises(ResetNeeded, match="environment"):
                ours.step(actions)
            options = {"reset_mask": ended}
            assert same_steps(ours.reset(options=options), oracle.reset(options=dict(options)))
            assert options == {"reset_mask": ended}
    assert partial_resets > 0


def test_it_is_what_make_vec_makes() -> None:
    envs = gym.make_vec(POINTS24, num_envs=2, split="train")
    assert isinstance(envs, TableVectorEnv)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.spec is not None
    assert envs.get_attr("split") == ("train", "train")
    assert envs.observation_space.shape == (2, 300, 300, 3)
    assert isinstance(gym.make_vec(POINTS24, num_envs=2, vectorization_mode="sync"), SyncVectorEnv)
    envs.close()


def test_reset_options_reach_every_environment() -> None:
    _, infos = native(num_envs=2).reset(options={"cards": ["AH", "10S", "KD", "4C"]})
    assert infos["cards"].tolist() == [("AH", "10S", "KD", "4C")] * 2


@each_id
def test_batches_handed_out_are_never_changed_afterwards(env_id: str) -> None:
    envs = native(env_id)
    random = np.random.default_rng(3)
    kept: list[tuple[Any, Any]] = []
    said: Any = envs.reset(seed=3)
    for _ in range(20):
        kept.append((said, copy.deepcopy(said)))
        said = envs.step(random.integers(envs.single_action_space.n, size=3))  # type: ignore[attr-defined]
    assert all(same_steps(now, then) for now, then in kept)


@each_id
def test_without_copies_the_batch_that_is_painted_on_is_handed_out(env_id: str) -> None:
    shared, copied = native(env_id, copy=False), native(env_id)
    batch, _ = shared.reset(seed=1)
    assert equal(batch, copied.reset(seed=1)[0])
    random = np.random.default_rng(3)
    for _ in range(30):
        actions = random.integers(shared.single_action_space.n, size=3)  # type: ignore[attr-defined]
        said = shared.step(actions)
        assert said[0] is batch
        assert same_steps(said, copied.step(actions))


@each_id
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda envs: pickle.loads(pickle.dumps(envs))])  # noqa: S301
def test_a_copy_in_mid_episode_goes_on_alike_and_apart(env_id: str, copier: Any) -> None:
    envs = native(env_id)
    envs.reset(seed=4)
    random = np.random.default_rng(4)
    count = envs.single_action_space.n  # type: ignore[attr-defined]
    envs.step(random.integers(count, size=3))
    twin, untouched = copier(envs), copier(envs)
    first = None
    for _ in range(20):
        actions = random.integers(count, size=3)
        said = envs.step(actions)
        first = first or (actions, copy.deepcopy(said))
        assert same_steps(said, twin.step(actions))
    assert first is not None
    assert same_steps(untouched.step(first[0]), first[1])


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([0, 1], "expected 3 whole numbers from 0 to 16"),
        ([0, 1, 17], "action 17 for environment 2"),
        ([-1, 1, 2], "action -1 for environment 0"),
        ([0.0, 1.0, 2.0], "expected 3 whole numbers"),
        (None, "expected 3 whole numbers"),
        ([[0], [1, 2], [3]], "expected 3 whole numbers"),
    ],
)
def test_wrong_actions_are_refused_and_change_nothing(actions: Any, message: str) -> None:
    envs, twin = native(), native()
    envs.reset(seed=1)
    twin.reset(seed=1)
    with pytest.raises(ActionError, match=message):
        envs.step(actions)
    legal = np.array([0, 1, 2])
    assert same_steps(envs.step(legal), twin.step(legal))


def test_stepping_before_the_first_reset_says_what_to_do() -> None:
    with pytest.raises(ResetNeeded, match=r"environment 0: call reset\(\) before step\(\)"):
        native().step(np.zeros(3, int))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"autoreset_mode": "later"}, "autoreset_mode='later': expected one of 'NextStep', 'SameStep', 'Disabled'"),
        ({"copy": "no"}, "copy='no'"),
        ({"theme": "plain"}, "theme='plain'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        native(**options)


@pytest.mark.parametrize("mask", [[True, False, False], np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_wrong_reset_masks_are_named(mask: Any) -> None:
    with pytest.raises(SettingError, match="reset_mask"):
        native().reset(options={"reset_mask": mask})


@pytest.mark.parametrize("seed", [[1, 2], [5, -1, 2], -3, 1.5, "abc", [1, 2, "x"], [1, 2, 2.5]])
def test_wrong_seeds_are_named_and_leave_no_trace(seed: Any) -> None:
    envs, twin = native(), native()
    envs.reset(seed=1)
    twin.reset(seed=1)
    with pytest.raises(SettingError, match="as seeds for 3 environments: expected a whole number from 0"):
        envs.reset(seed=seed)
    assert same_steps(envs.step(np.zeros(3, int)), twin.step(np.zeros(3, int)))
    assert same_steps(envs.reset(), twin.reset())


@pytest.mark.parametrize("options", [5, [1], {"colour": "blue"}, {"cards": ["AH"]}])
def test_wrong_reset_options_are_named_and_leave_no_trace(options: Any) -> None:
    envs, twin = native(), native()
    envs.reset(seed=1)
    twin.reset(seed=1)
    with pytest.raises((SettingError, HandError)):
        envs.reset(options=options)
    assert same_steps(envs.step(np.zeros(3, int)), twin.step(np.zeros(3, int)))
    assert same_steps(envs.reset(), twin.reset())


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-5, 5),
    "truth": st.booleans(),
    "real": st.floats(0, 1),
    "text": st.text(max_size=3),
    "pair": st.one_of(st.none(), st.tuples(st.integers(), st.integers())),
    "array": st.integers(0, 9).map(lambda number: np.full(3, number, np.int8)),
    "final_obs": st.integers(0, 9).map(lambda number: np.full((2, 2), number, np.uint8)),
    "final_info": st.fixed_dictionaries({}, optional={"whole": st.integers(0, 3), "text": st.text(max_size=2)}),
}


@given(st.lists(st.one_of(st.none(), st.fixed_dictionaries({}, optional=VALUES)), min_size=1, max_size=5))
def test_infos_are_stacked_as_gymnasium_does_it(infos: list[dict[str, Any] | None]) -> None:
    envs = gym.vector.VectorEnv()
    envs.num_envs = len(infos)
    expected: dict[str, Any] = {}
    for index, info in enumerate(infos):
        expected = envs._add_info(expected, info or {}, index)
    assert same_infos(stack_infos(infos), expected)
