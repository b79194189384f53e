"""gtr/ALFWorld-v0: the contract with Gymnasium, rewards, ends, commands, copies, experts, errors."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

pytest.importorskip("alfworld", reason="the extra alfworld is not installed")
pytest.importorskip("textworld", reason="the extra alfworld is not installed")

from gtr_envs.alfworld.commands import LONGEST_COMMAND, MOST_COMMANDS, same_command
from gtr_envs.alfworld.env import ALFWorldEnv
from gtr_envs.alfworld.games import SPLITS, TASK_TYPES
from gtr_envs.alfworld.solver import next_command
from gtr_envs.episode import StopReason, play
from gtr_envs.errors import ActionError, GameError, SettingError
from gtr_envs.experts import ExplorerPolicy, RandomPolicy, SolverPolicy
from gtr_envs.protocol import AnswerStatus
from gtr_envs.text_actions import make_text_env
from tests.envs.every_environment import equal

ENV_ID = "gtr/ALFWorld-v0"
ROOT = Path(__file__).resolve().parents[2]
GAMES = ROOT.parent / "shared" / "alfworld_games"
needs_games = pytest.mark.skipif(not GAMES.is_dir(), reason=f"real ALFWorld games are not at {GAMES}")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the tests' own, shared by them."""
    monkeypatch.setenv("GTR_CACHE", str(tmp_path_factory.getbasetemp() / "gtr-cache"))


def made(**options: Any) -> ALFWorldEnv:
    return ALFWorldEnv(**{"data": "generated", "image_size": 112, **options})


def solve(env: ALFWorldEnv, info: dict[str, Any]) -> list[Any]:
    """The steps of the solver from here to the end."""
    steps: list[Any] = []
    while "is_success" not in info:
        steps.append(env.step(next_command(info["goal"], info["household"], info["admissible_commands"]) or "look"))
        info = steps[-1][4]
    return steps


@pytest.mark.parametrize(
    "options", [{}, {"actions": "index"}, {"image_size": 64}, {"labels": False, "illegal": "random"}]
)
def test_the_checker_finds_nothing_to_say(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ENV_ID, data="generated", render_mode="rgb_array", **options).unwrapped
        check_env(env)
        env.close()


def test_the_same_seed_plays_the_same_and_another_one_something_else() -> None:
    first, second = made(), made()
    for seed in (1, 2):
        assert equal_said(first.reset(seed=seed), second.reset(seed=seed))
        for turn in range(6):
            commands = first.reset.__self__._said.admissible_commands  # type: ignore[attr-defined]
            command = commands[turn * 5 % len(commands)]
            assert equal_said(first.step(command), second.step(command))
    assert first.reset(seed=1)[1]["gamefile"] != first.reset(seed=2)[1]["gamefile"]


def equal_said(first: Any, second: Any) -> bool:
    return equal(tuple(first[:-1]), tuple(second[:-1])) and equal(first[-1], second[-1])


def test_what_is_said_does_not_depend_on_the_process() -> None:
    code = (
        "import hashlib\nfrom gtr_envs.alfworld.env import ALFWorldEnv\n"
        "env = ALFWorldEnv(data='generated', image_size=64)\nframe, info = env.reset(seed=11)\n"
        "said = [frame.tobytes(), repr(info)]\n"
        "for turn in range(8):\n"
        "    frame, *rest = env.step(info['admissible_commands'][turn * 7 % len(info['admissible_commands'])])\n"
        "    info = rest[-1]\n    said += [frame.tobytes(), repr(rest)]\n"
        "print(hashlib.sha256(repr(said).encode()).hexdigest())"
    )
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code]
        outputs.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(outputs) == 1


@pytest.mark.parametrize("task_type", TASK_TYPES)
def test_every_task_is_won_and_the_rate_is_one_exactly_then(task_type: str) -> None:
    env = made(split="valid_unseen", task_types=[task_type])
    for seed in range(2):
        _, info = env.reset(seed=seed)
        assert info["task_type"] == task_type
        assert info["goal_condition_success_rate"] < 1
        rewards = [-1.0]
        for _, reward, terminated, truncated, info in solve(env, info):  # noqa: B020 - the last is looked at below
            assert terminated == info["won"] == (info["goal_condition_success_rate"] == 1)
            assert not truncated
            assert reward == 50 * info["won"] + info["goal_condition_success_rate"]
            rewards.append(reward)
        assert info["is_success"]
        assert rewards[-1] == 51


def test_the_other_rewards() -> None:
    for kind in ("sparse", "progress"):
        env = made(reward=kind)
        _, info = env.reset(seed=4)
        assert env.step("dance")[1] == (0 if kind == "sparse" else -1)
        rewards = [step[1] for step in solve(env, info)]
        assert sum(rewards) == pytest.approx(1)
        assert kind == "progress" or rewards[:-1] == [0] * (len(rewards) - 1)


def test_an_illegal_command_costs_one_and_changes_nothing() -> None:
    env = made()
    frame, info = env.reset(seed=1)
    after, reward, terminated, truncated, said = env.step("go to the moon")
    assert (reward, terminated, truncated) == (info["goal_condition_success_rate"] - 1, False, False)
    assert said["illegal"]
    assert (after == frame).all()
    assert said["admissible_commands"] == info["admissible_commands"]
    assert said["feedback"] == "Nothing happens."
    assert said["history"] == ("go to the moon",)
    # The next prompt is another one, and a command of any length does not fill it.
    long = env.step("go " * 500)[4]["history"][-1]
    assert len(long) == LONGEST_COMMAND
    legal = env.step(info["admissible_commands"][0])[4]
    assert legal["feedback"] != "Nothing happens."
    assert legal["history"] == ("go to the moon", long, info["admissible_commands"][0])


def test_an_illegal_command_plays_a_random_one_if_asked_to() -> None:
    env = made(illegal="random")
    env.reset(seed=1)
    said = env.step("go to the moon")[4]
    assert said["illegal"]
    assert said["feedback"] != "Nothing happens."
    assert said["history"] == ("go to the moon",)
    assert len(said["views"]) == 2


def test_commands_by_index() -> None:
    env, twin = made(actions="index"), made()
    _, info = env.reset(seed=3)
    twin.reset(seed=3)
    for index in (0, 3):
        command = info["admissible_commands"][index]
        said = env.step(np.int64(index))
        assert equal_said(said, twin.step(command))
        info = said[4]
    mask = info["action_mask"]
    assert mask.shape == (MOST_COMMANDS,)
    assert mask.sum() == len(info["admissible_commands"])
    assert env.step(len(info["admissible_commands"]))[4]["illegal"]


@pytest.mark.parametrize(
    ("command", "admissible", "same"),
    [
        ("put mug 1 in/on shelf 2", ["move mug 1 to shelf 2"], "move mug 1 to shelf 2"),
        ("put mug 1 on shelf 2", ["move mug 1 to shelf 2"], "move mug 1 to shelf 2"),
        ("move mug 1 to shelf 2", ["put mug 1 in/on shelf 2"], "put mug 1 in/on shelf 2"),
        ("move mug 1 to shelf 2", ["move mug 1 to shelf 2"], "move mug 1 to shelf 2"),
        ("move mug 1 to shelf 2", ["move mug 1 to shelf 21"], None),
        ("look", ["inventory"], None),
        ("GO TO Shelf 2", ["go to shelf 2"], "go to shelf 2"),
        ("Put Mug 1 In/On Shelf 2", ["move mug 1 to shelf 2"], "move mug 1 to shelf 2"),
        ("take cd 1 from desk 1", ["take CD 1 from desk 1"], "take CD 1 from desk 1"),
    ],
)
def test_both_words_for_putting_are_understood_and_capitals(
    command: str, admissible: list[str], same: str | None
) -> None:
    assert same_command(command, admissible) == same


def test_the_ends_of_an_episode() -> None:
    env = made(max_steps=3)
    env.reset(seed=1)
    ends = [env.step("look")[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]
    env = made(cut_off="paper")
    env.reset(seed=1)
    steps = [env.step("look") for _ in range(5)]
    assert [step[3] for step in steps] == [False] * 4 + [True]
    assert steps[-1][1] == steps[0][1] - 3
    env.reset(seed=1)
    steps = [env.step(("look", "inventory")[turn % 2]) for turn in range(40)]
    assert [step[3] for step in steps] == [False] * 39 + [True]
    assert steps[-1][4]["is_success"] is False


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])  # noqa: S301
def test_a_copy_in_mid_episode_goes_on_alike_and_apart(copier: Any) -> None:
    env = made()
    _, info = env.reset(seed=5)
    for _ in range(2):
        info = env.step(next_command(info["goal"], info["household"], info["admissible_commands"]))[4]
    # What was given but not played is known to the copy, too, and is not played by it.
    info = env.step("go to the moon")[4]
    twin, untouched = copier(env), copier(env)
    assert twin._info(True)["feedback"] == "Nothing happens."
    command = next_command(info["goal"], info["household"], info["admissible_commands"])
    said = env.step(command)
    assert equal_said(said, twin.step(command))
    assert equal_said(said, untouched.step(command))
    assert len(said[4]["history"]) == 4
    assert equal_said(env.reset(), twin.reset())


def test_splits_play_other_games() -> None:
    files = {split: {made(split=split).reset(seed=seed)[1]["gamefile"] for seed in range(4)} for split in SPLITS}
    assert sum(map(len, files.values())) == 12
    assert len(set.union(*files.values())) == 12


@needs_games
def test_the_data_set_is_played_where_it_is_given() -> None:
    env = ALFWorldEnv(data=GAMES, split="valid_seen", image_size=112)
    _, info = env.reset(seed=2)
    assert Path(info["gamefile"]).is_relative_to(GAMES)
    assert solve(env, info)[-1][4]["is_success"]
    path = info["gamefile"]
    assert env.reset(options={"game": path})[1]["gamefile"] == path


@pytest.mark.parametrize("policy", [SolverPolicy(), ExplorerPolicy(), RandomPolicy()], ids=lambda policy: policy.name)
def test_experts_play_it_by_the_protocol(policy: Any) -> None:
    played = list(play(policy, lambda: make_text_env(ENV_ID, data="generated", image_size=64), range(4), batch_size=2))
    for episode in played:
        assert episode.stop in (StopReason.TERMINATED, StopReason.TRUNCATED), episode.error
        assert episode.n_illegal == 0
        assert {turn.status for turn in episode.turns} == {AnswerStatus.STRICT}
        assert "Admissible actions: " in episode.turns[0].prompt
    if policy.name == "expert":
        assert all(episode.success for episode in played)
    if policy.name == "explorer":
        assert any(episode.success for episode in played)


def test_vector_environments_in_one_process_and_in_several_say_the_same() -> None:
    options = {"num_envs": 2, "data": "generated", "image_size": 64, "actions": "index"}
    sync, several = (gym.make_vec(ENV_ID, vectorization_mode=mode, **options) for mode in ("sync", "async"))
    frames = [envs.reset(seed=5)[0] for envs in (sync, several)]
    assert frames[0].shape == (2, 64, 64, 3)
    assert equal(*frames)
    random = np.random.default_rng(0)
    for _ in range(12):
        actions = random.integers(0, 12, size=2)
        one, other = sync.step(actions), several.step(actions)
        assert equal(tuple(one[:4]), tuple(other[:4]))
        assert list(one[4]["feedback"]) == list(other[4]["feedback"])
    sync.close()
    several.close()


# Which game comes next.

DRAWN = [
    "generated/train/pick_cool_then_place_in_recep-Pan-None-Cabinet-2/2937467307694268567",
    "generated/train/pick_cool_then_place_in_recep-Apple-None-CounterTop-22/2360360630558964031",
    "generated/train/pick_clean_then_place_in_recep-Cloth-None-GarbageCan-417/1206473021768521264",
    "generated/train/pick_cool_then_place_in_recep-Tomato-None-SinkBasin-2/1376547432707316825",
]
DRAWN_OF_SEVEN = [
    "generated/valid_unseen/pick_heat_then_place_in_recep-Tomato-None-Fridge-10/1",
    "generated/valid_unseen/pick_cool_then_place_in_recep-Pot-None-DiningTable-9/5",
]


def test_seeds_draw_the_games_that_they_always_drew() -> None:
    env = made(image_size=64)
    files = [env.reset(seed=seed)[1]["gamefile"] for seed in (0, 1, 2, None)]
    assert files == DRAWN
    few = made(image_size=64, num_games=7, split="valid_unseen")
    assert [few.reset(seed=seed)[1]["gamefile"] for seed in (0, 1)] == DRAWN_OF_SEVEN


def test_in_order_of_the_seeds_each_game_is_played_once() -> None:
    env = made(image_size=64, num_games=3, order="seed")
    first = 10_000_000_000 // 3 * 3
    files = [env.reset(seed=first + index)[1]["gamefile"] for index in range(3)]
    assert [file.rpartition("/")[2] for file in files] == ["0", "1", "2"]
    # Without a seed the next one comes, also in a copy.
    assert env.reset(seed=4)[1]["gamefile"] == files[1]
    twin = copy.deepcopy(env)
    for each in (env, twin):
        assert [each.reset()[1]["gamefile"] for _ in range(2)] == [files[2], files[0]]
    # They are those that are drawn otherwise, and a game that is asked for by its path changes nothing.
    drawn = made(image_size=64, num_games=3)
    assert {drawn.reset(seed=seed)[1]["gamefile"] for seed in range(12)} == set(files)
    with pytest.raises(GameError):
        env.reset(options={"game": "nowhere"})
    assert env.reset()[1]["gamefile"] == files[1]


@needs_games
def test_in_order_of_the_seeds_each_game_of_the_data_set_is_played_once() -> None:
    env = ALFWorldEnv(data=GAMES, split="valid_seen", image_size=64, num_games=4, order="seed")
    files = [env.reset(seed=10_000_000_000 + index)[1]["gamefile"] for index in range(4)]
    assert len(set(files)) == 4
    assert env.reset(seed=10_000_000_004)[1]["gamefile"] == files[0]


# Bad input.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "unknown split 'test'"),
        ({"task_types": ["dance"]}, "unknown task type 'dance'"),
        ({"task_types": "pick_two_obj_and_place"}, "expected a list such as"),
        ({"actions": "keys"}, "actions='keys': expected one of 'text', 'index'"),
        ({"reward": 1}, "reward=1"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"image_size": 3}, "image_size=3"),
        ({"order": "file"}, "order='file': expected one of 'random', 'seed'"),
        ({"order": "seed"}, "order='seed' with generated rooms, which have no end: .* num_games=100"),
        ({"data": 3}, "data=3: expected a folder"),
        ({"data": b"x"}, "data=b'x': expected a folder"),
        ({"data": ""}, r"data='': expected a folder.*for the current folder '\.'"),
        ({"cut_off": "paper", "max_steps": 3}, "max_steps=3 with cut_off='paper', .* step 40: leave out one"),
        ({"cut_off": "paper", "max_steps": 50}, "max_steps=50 with cut_off='paper'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        made(**options)


def test_missing_and_broken_games_are_named(tmp_path: Path) -> None:
    with pytest.raises(GameError, match="nowhere"):
        ALFWorldEnv(data=tmp_path / "nowhere")
    with pytest.raises(GameError, match="alfworld-download"):
        ALFWorldEnv(data=tmp_path)
    with pytest.raises(GameError, match=r"none\.tw-pddl"):
        made().reset(options={"game": tmp_path / "none.tw-pddl"})
    with pytest.raises(SettingError, match="the only one is 'game'"):
        made().reset(options={"room": 3})
    for game in (5, None, "", {"grammar": ""}, b"game.tw-pddl"):
        with pytest.raises(SettingError, match=r"reset option game=.*: expected the path of a game\.tw-pddl"):
            made().reset(options={"game": game})


def test_a_command_that_is_no_text_and_a_step_too_early_are_named() -> None:
    env = made()
    with pytest.raises(ResetNeeded, match=r"call reset\(\) before step\(\)"):
        env.step("look")
    env.reset(seed=0)
    for action in (3, None, ["look"]):
        with pytest.raises(ActionError, match="expected a command"):
            env.step(action)
    by_index = made(actions="index")
    by_index.reset(seed=0)
    for action in (-1, MOST_COMMANDS, 1.5, "look"):
        with pytest.raises(ActionError, match="from 0 to 255"):
            by_index.step(action)
