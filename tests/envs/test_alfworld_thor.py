"""gtr/ALFWorldThor-v0, with a stand-in for alfworld's THOR environment: nothing here starts Unity."""

from __future__ import annotations

import copy
import importlib.util
import json
import random
import socket
import sys
import types
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import gtr_envs  # noqa: F401 - registers the environments
from gtr_envs.alfworld import thor
from gtr_envs.alfworld.thor import ALFWorldThorEnv
from gtr_envs.errors import ActionError, GameError, MissingExtraError, SettingError
from gtr_envs.tasks import ALFWorldTask

ENV_ID = "gtr/ALFWorldThor-v0"
GAMES = [f"/games/trial_{number}/traj_data.json" for number in (3, 1, 2, 0, 4, 5, 6)]
WAY = ("go to shelf 1", "take mug 1 from shelf 1", "put mug 1 in/on desk 1")


class Thread:
    """As `AlfredThorEnv.Thor`, which knows the game and the last result."""

    def __init__(self) -> None:
        self.traj_data: dict[str, Any] = {}
        self.result: tuple[Any, ...] = ()

    def get_results(self) -> tuple[Any, ...]:
        return self.result


class StandIn:
    """As `AlfredThorEnv`: three commands win, and each picture is bluer than the last."""

    def __init__(self) -> None:
        self.json_file_list = list(GAMES)
        self.envs: list[Thread] = []
        self.commands: list[str] = []
        self.seeds: list[int] = []
        self.closed = 0
        self.breaks = ""  # "error" or "stale"

    def init_env(self, batch_size: int) -> StandIn:
        assert batch_size == 1
        self.envs.append(Thread())
        return self

    def seed(self, seed: int) -> None:
        self.seeds.append(seed)

    def reset(self) -> tuple[list[str], dict[str, Any]]:
        self.game = self.json_file_list.pop(random.randrange(len(self.json_file_list)))
        self.envs[0].traj_data = {"task_type": "pick_and_place_simple"}
        self.done, self.commands = 0, []
        self.shade = random.randrange(100)
        return self.answer("You see a shelf 1.\n\nYour task is to: put a mug on the desk.", True)[0::3]  # type: ignore[return-value]

    def step(self, commands: list[str]) -> tuple[list[str], None, list[bool], dict[str, Any]]:
        if self.breaks == "error":
            raise RuntimeError("Unity is gone")
        self.commands += commands
        self.done += commands[0] == WAY[self.done]
        return self.answer(f"You did: {commands[0]}", self.breaks != "stale")

    def answer(self, said: str, fresh: bool) -> tuple[list[str], None, list[bool], dict[str, Any]]:
        won = self.done == len(WAY)
        if fresh:
            self.envs[0].result = (said, won, self.done)
        infos = {
            "admissible_commands": [["look", *WAY[self.done : self.done + 1], "inventory", "look"]],
            "won": [won],
            "goal_condition_success_rate": [1.0 if won else (0.5 if self.done == 2 else 0.0)],
            "extra.gamefile": [self.game.removesuffix("/traj_data.json")],
            "extra.expert_plan": [["look"]],
        }
        return [said], None, [won], infos

    def get_frames(self) -> np.ndarray:
        frame = np.zeros((1, 300, 300, 3), np.uint8)
        frame[..., 0] = 200 + self.done  # blue
        frame[..., 2] = self.shade  # red
        return frame

    def close(self) -> None:
        self.closed += 1


def made(**options: Any) -> tuple[ALFWorldThorEnv, StandIn]:
    stand_in = StandIn()
    return ALFWorldThorEnv(**{"backend": lambda: stand_in, "image_size": 64, **options}), stand_in


@pytest.mark.parametrize("options", [{}, {"actions": "index"}, {"illegal": "random", "split": "valid_seen"}])
def test_the_checker_finds_nothing_to_say(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(ENV_ID, backend=StandIn, render_mode="rgb_array", **options).unwrapped
        check_env(env)
        env.close()


def test_the_information_is_that_of_the_text_environment_where_thor_has_it() -> None:
    env, stand_in = made(render_mode="ansi")
    _, info = env.reset(seed=1)
    assert info["task"] == "put a mug on the desk"
    assert info["task_type"] == "pick_and_place_simple"
    assert info["admissible_commands"] == ("go to shelf 1", "inventory", "look")
    assert info["action_mask"].tolist() == [1] * 3 + [0] * 253
    assert info["gamefile"] == stand_in.game.removesuffix("/traj_data.json")
    assert (info["history"], info["won"], info["illegal"]) == ((), False, False)
    assert "is_success" not in info
    info = env.step(WAY[0])[4]
    assert (info["history"], info["feedback"]) == (WAY[:1], f"You did: {WAY[0]}")
    assert env.render() == f"put a mug on the desk | You did: {WAY[0]}"


def test_the_words_of_the_text_environment_fit() -> None:
    for options in ({}, {"actions": "index"}):
        task = ALFWorldTask(**options)
        env, stand_in = made(**options)
        _, info = env.reset(seed=1)
        for done, command in enumerate(WAY):
            said = task.prompt(info)
            assert "\nTask: put a mug on the desk.\n" in said
            assert f"Your last actions: {', '.join(WAY[:done]) or 'none'}.\n" in said
            assert all(each in said for each in info["admissible_commands"])
            assert command in task.legal(info)
            assert task.legal(info) == task.allowed(info) == info["admissible_commands"]
            info = env.step(task.env_action(command, info))[4]
        assert tuple(stand_in.commands) == WAY
        assert info["is_success"]


def test_the_picture_is_red_green_blue_of_the_asked_size_and_its_own() -> None:
    for size in (64, 300):
        env, stand_in = made(image_size=size, render_mode="rgb_array")
        frame, _ = env.reset(seed=1)
        assert frame.shape == (size, size, 3)
        assert (frame == [stand_in.shade, 0, 200]).all()
        frame[:] = 7
        assert (env.render() == [stand_in.shade, 0, 200]).all()
        assert (env.step(WAY[0])[0] == [stand_in.shade, 0, 201]).all()


@pytest.mark.parametrize(
    ("kind", "rewards"), [("gtr", [-1, 0, 0.5, 51]), ("sparse", [0, 0, 0, 1]), ("progress", [-1, 0, 0.5, 0.5])]
)
def test_rewards(kind: Any, rewards: list[float]) -> None:
    env, _ = made(reward=kind)
    env.reset(seed=1)
    steps = [env.step(command) for command in ("fly", *WAY)]
    assert [step[1] for step in steps] == rewards
    assert [step[2] for step in steps] == [False, False, False, True]
    assert steps[-1][4]["is_success"]
    with pytest.raises(ResetNeeded):
        env.step("look")


def test_an_illegal_command_is_not_sent() -> None:
    env, stand_in = made()
    frame, _ = env.reset(seed=1)
    after, reward, terminated, truncated, info = env.step(WAY[2])
    assert (reward, terminated, truncated, info["illegal"], info["history"]) == (-1, False, False, True, (WAY[2],))
    assert info["feedback"] == "Nothing happens."
    assert (after == frame).all()
    assert stand_in.commands == []
    env, stand_in = made(illegal="random")
    env.reset(seed=1)
    info = env.step("fly")[4]
    assert info["illegal"]
    assert info["history"] == ("fly",)
    assert len(stand_in.commands) == 1


@pytest.mark.parametrize("command", ["move mug 1 to desk 1", "put mug 1 on desk 1", "put  mug 1 in/on desk 1"])
def test_put_and_move_are_the_same(command: str) -> None:
    env, stand_in = made()
    env.reset(seed=1)
    for each in WAY[:2]:
        env.step(each)
    assert env.step(command)[2]
    assert stand_in.commands[-1] == WAY[2]


def test_commands_by_index() -> None:
    env, stand_in = made(actions="index")
    _, info = env.reset(seed=1)
    assert not env.step(info["admissible_commands"].index(WAY[0]))[4]["illegal"]
    assert stand_in.commands == [WAY[0]]
    assert env.step(200)[4]["illegal"]
    with pytest.raises(ActionError, match="256"):
        env.step(256)


def test_cut_offs() -> None:
    env, _ = made(max_steps=2)
    env.reset(seed=1)
    assert env.step("look")[2:4] == (False, False)
    *_, truncated, info = env.step("look")
    assert truncated
    assert info["is_success"] is False
    env, _ = made(cut_off="paper")
    env.reset(seed=1)
    steps = [env.step("look") for _ in range(5)]
    assert [step[3] for step in steps] == [False] * 4 + [True]
    assert steps[-1][1] == -3
    with pytest.raises(SettingError, match="leave out one"):
        made(cut_off="paper", max_steps=50)


def test_the_same_seed_plays_the_same_game_and_the_global_generator_is_left_alone() -> None:
    first, stand_in = made(split="valid_seen")
    second, other = made(split="valid_seen")
    other.json_file_list.reverse()  # another file system
    random.seed(5)
    before = random.getstate()
    games = []
    for seed in (1, 2, 3, None, 1, 2):
        one, two = first.reset(seed=seed), second.reset(seed=seed)
        assert (one[0] == two[0]).all()
        assert one[1]["gamefile"] == two[1]["gamefile"]
        games.append((one[1]["gamefile"], stand_in.shade))
        first.step(WAY[0])
    assert random.getstate() == before
    assert games[:2] == games[-2:]
    assert len(set(games)) > 2
    assert stand_in.seeds == other.seeds


@pytest.mark.parametrize("breaks", ["error", "stale"])
def test_a_thor_that_fails_is_named_and_started_anew(breaks: str) -> None:
    stand_ins: list[StandIn] = []

    def build() -> StandIn:
        stand_ins.append(StandIn())
        return stand_ins[-1]

    env, _ = made(backend=build)
    env.reset(seed=1)
    stand_ins[0].breaks = breaks
    with pytest.raises(GameError, match=r"Unity is gone|thread ended"):
        env.step("look")
    with pytest.raises(ResetNeeded):
        env.step("look")
    env.reset(seed=1)
    env.step("look")
    assert len(stand_ins) == 2
    assert stand_ins[0].closed == 1


def test_before_the_first_reset_and_after_the_end() -> None:
    env, stand_in = made(render_mode="rgb_array")
    for call in (lambda: env.step("look"), env.render):
        with pytest.raises(ResetNeeded):
            call()
    env.close()
    env.reset(seed=1)
    env.close()
    env.close()
    assert stand_in.closed == 1
    with pytest.raises(ResetNeeded):
        env.step("look")
    with pytest.raises(TypeError, match="copied"):
        copy.deepcopy(env)


def test_wrong_values_are_named() -> None:
    for options in ({"backend": 3}, {"split": "test"}, {"image_size": 5}, {"reward": "much"}, {"render_mode": "human"}):
        with pytest.raises(SettingError):
            made(**options)
    env, stand_in = made()
    with pytest.raises(SettingError, match="game"):
        env.reset(options={"game": "x"})
    stand_in.json_file_list = []
    with pytest.raises(GameError, match="alfworld-download"):
        env.reset()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """All packages, a data set and an X server, as far as one can see; the folder of the data set."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in thor.PACKAGES else found(name))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(thor, "_answers", lambda host, number: (host, number) == ("", 1))
    monkeypatch.setenv("DISPLAY", ":1.0")
    trial = tmp_path / "json_2.1.1" / "train" / "pick_and_place_simple-Mug-None-Desk-301" / "trial_1"
    trial.mkdir(parents=True)
    (trial / "traj_data.json").write_text("{}")
    return tmp_path


def test_what_is_built_by_default(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get_environment(name: str) -> Any:
        assert name == "AlfredThorEnv"
        return lambda config, train_eval: asked.append((config, train_eval)) or StandIn()

    module = types.ModuleType("alfworld.agents.environment")
    module.get_environment = get_environment  # type: ignore[attr-defined]
    for name in ("alfworld", "alfworld.agents"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    env = ALFWorldThorEnv(data=installed)
    assert asked == []
    env.reset(seed=1)
    config, train_eval = asked[0]
    assert train_eval == "train"
    assert config["dataset"]["data_path"] == str(installed / "json_2.1.1" / "train")

    def fails(name: str) -> Any:
        raise ImportError("werkzeug is too new")

    module.get_environment = fails  # type: ignore[attr-defined]
    with pytest.raises(MissingExtraError, match=r"werkzeug is too new.*pip install 'alfworld\[full\]'"):
        ALFWorldThorEnv(data=installed).reset()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_alfworlds_own_class_takes_the_configuration(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("alfworld", reason="the extra alfworld is not installed")
    names = {
        "alfworld.env.thor_env": ["ThorEnv"],
        "alfworld.agents.expert": ["HandCodedThorAgent", "HandCodedAgentTimeout"],
        "alfworld.agents.detector.mrcnn": ["load_pretrained_model"],
        "alfworld.agents.controller": ["OracleAgent", "OracleAStarAgent", "MaskRCNNAgent", "MaskRCNNAStarAgent"],
    }
    for name, members in names.items():
        module = types.ModuleType(name)
        for member in members:
            setattr(module, member, MagicMock())
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "alfworld.agents.environment.alfred_thor_env", raising=False)
    first = next(installed.glob("json_2.1.1/train/*/*/traj_data.json"))
    scene = {"scene_num": 301, "object_poses": [], "dirty_and_empty": False, "object_toggles": [], "init_action": {}}
    game = {"task_type": "pick_and_place_simple", "scene": scene}
    game["pddl_params"] = {
        "object_target": "Mug",
        "parent_target": "Desk",
        "toggle_target": "",
        "mrecep_target": "",
        "object_sliced": False,
    }
    first.write_text(json.dumps(game))
    env = ALFWorldThorEnv(data=installed, image_size=64)
    from alfworld.agents.environment import alfred_thor_env

    unity = alfred_thor_env.ThorEnv.return_value
    unity.get_goal_satisfied.return_value = False
    unity.get_goal_conditions_met.return_value = (1, 2)
    unity.last_event.frame = np.full((300, 300, 3), (10, 20, 30), np.uint8)
    agent = alfred_thor_env.OracleAgent.return_value
    agent.feedback = "Your task is to: put a mug in desk."
    agent.step.return_value = "You arrive at shelf 1."
    agent.get_admissible_commands.side_effect = lambda: ["look", "go to shelf 1"]
    alfred_thor_env.HandCodedThorAgent.return_value.act.return_value = "look"
    alfred_thor_env.HandCodedAgentTimeout = TimeoutError
    frame, info = env.reset(seed=1)
    assert (frame == [10, 20, 30]).all()
    assert (info["task"], info["task_type"]) == ("put a mug in desk", "pick_and_place_simple")
    assert info["gamefile"] == str(first.parent)
    assert env.step("go to shelf 1")[1] == 0.5
    unity.get_goal_satisfied.side_effect = SystemExit  # ends the thread, and says nothing
    with pytest.raises(GameError, match="thread ended"):
        env.step("look")
    unity.stop.assert_called_once()
    first.write_text("{")
    with pytest.raises(GameError, match="damaged"):
        env.reset()


def test_missing_packages(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai2thor" else name)
    with pytest.raises(MissingExtraError, match=r"needs ai2thor: pip install 'alfworld\[full\]'"):
        ALFWorldThorEnv(data=installed).reset()


def test_missing_data(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GameError, match=r"valid_seen: run alfworld-download"):
        ALFWorldThorEnv(data=installed, split="valid_seen").reset()
    monkeypatch.setattr(thor, "data_root", lambda data: None)
    with pytest.raises(GameError, match="run alfworld-download"):
        ALFWorldThorEnv().reset()


def test_missing_x_server(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for display in (":7", "nonsense", "other:1"):
        monkeypatch.setenv("DISPLAY", display)
        with pytest.raises(MissingExtraError, match=rf"none answers at DISPLAY={display}: start one"):
            ALFWorldThorEnv(data=installed).reset()
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(MissingExtraError, match="DISPLAY is not set: start one"):
        ALFWorldThorEnv(data=installed).reset()
    monkeypatch.setattr(sys, "platform", "darwin")
    thor.check_display()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names without a file exist on Linux only")
def test_an_x_server_that_answers_is_found() -> None:
    number = 60_000 + random.SystemRandom().randrange(5000)
    assert not thor._answers("", number)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0/tmp/.X11-unix/X{number}")
        server.listen()
        assert thor._answers("", number)
        assert thor._answers("unix", number)
    assert not thor._answers("localhost", 60_000)
