"""ALFWorld as a Gymnasium environment: household tasks on the real engine, seen as pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gtr_envs.alfworld.choice import GameChoice, Order, game_at
from gtr_envs.alfworld.commands import (
    LONGEST_COMMAND,
    MOST_COMMANDS,
    Actions,
    action_space,
    command_of,
    same_command,
)
from gtr_envs.alfworld.damaged import playable
from gtr_envs.alfworld.draw import draw_view
from gtr_envs.alfworld.engine import NOTHING_HAPPENS, Engine, EngineState
from gtr_envs.alfworld.goals import goal_condition_rate, goal_from_pddl
from gtr_envs.alfworld.records import Household, View
from gtr_envs.alfworld.rules import CutOff, RewardKind, cut_off_after, step_limit, step_reward
from gtr_envs.alfworld.state import places_of, read_household, remember, visible
from gtr_envs.options import IMAGE_SIZES, check_choice, check_options, check_whole, checked_options

IllegalRule = Literal["continue", "random"]

_TASK = re.compile(r"Your task is to: (.*?)\.?\s*$", re.DOTALL)


class ALFWorldEnv(gym.Env[np.ndarray, Any]):
    """Do a household task, one command at a time, seeing only what stands before you.

    ## Actions
    With `actions="text"` (default) a `Text`: a command such as "go to fridge 1". With `actions="index"` a
    `Discrete(256)`: the place of a command in `info["admissible_commands"]`. A command that is not among them is
    illegal. "put X in/on Y" and "move X to Y" are the same, whichever the game's own texts say. So are capitals and
    small letters.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: what the agent stands before, what lies there, what it holds, and
    a plan of the room. What is inside of closed things is not shown. Each observation is an array of its own.

    ## Rewards
    `reward="gtr"` (default): 50 for winning, plus the goal-condition rate, each step, and -1 for an illegal command, as
    GTR-Turbo (https://arxiv.org/abs/2512.13043) has it. `"sparse"`: 1 for winning, else 0. `"progress"`: by how much
    the goal-condition rate changed. An illegal command costs 1 in `"progress"` too, and nothing in `"sparse"`.

    ## Episode end
    Terminated when the task is done. Truncated by the step `max_steps`. With `cut_off="paper"` truncated by the 40th
    action or by the fifth equal one in a row, which costs 3 more.

    ## Options
    - `data`: the folder of the ALFWorld data set; without it that of `ALFWORLD_DATA`; without that, generated rooms.
      "generated" asks for these whatever is there.
    - `split`: "train" (default), "valid_seen" or "valid_unseen"; rooms of the last are never in the others.
    - `task_types`: a list of the task types to play; all six by default.
    - `num_games`: only so many different games of those; by default all of the data set, and generated without end.
    - `order`: "random" (default) draws each game, so that some come twice before others come at all. "seed" plays, by
      `reset(seed=s)`, the game with the number s, counted modulo their number, and by a reset without a seed the next
      one. Generated games have a last one only with `num_games`.
    - `actions`: "text" or "index". `reward`: "gtr", "sparse" or "progress".
    - `illegal`: what an illegal command does, "continue" (nothing happens) or "random" (a random admissible command is
      played instead, as the released GTR code does).
    - `max_steps`: 50 by default. `cut_off`: "steps" or "paper", which has its own number of steps.
    - `image_size`: pixels, 300 by default. `labels`: whether names and numbers are written into the picture.
    - `render_mode`: None, "rgb_array" or "ansi".

    `reset(options={"game": path})` plays that game, of a game.tw-pddl. After a reset that fails no episode is running.

    ## Info
    - `task`: what is to be done, in the game's words; `task_type`: one of the six.
    - `admissible_commands`: sorted; `action_mask`: int8 array (256,), 1 for each of them.
    - `feedback`: the engine's text, "Nothing happens." after an illegal command that did nothing.
    - `history`: the commands so far, illegal ones too, as they were given and cut after 200 letters.
    - `won`, `goal_condition_success_rate`: the latter is 1 exactly when the game is won.
    - `views`: what each picture so far showed, as records; `household`, `goal`: the whole state and the goal. All of it
      is for experts, not for the agent that is measured.
    - `gamefile`: the path of the game, or how it was generated.
    - `illegal`: whether the last command was. `is_success`: whether the game was won; only at the end.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        data: see Options, as the others.
        split: which games.
        task_types: which of them.
        num_games: how many different ones.
        order: which of them comes next.
        actions: how commands are given.
        reward: what is rewarded.
        illegal: what an illegal command does.
        max_steps: when an episode is cut off.
        cut_off: by which rule.
        image_size: pixels, from 64 to 1024.
        labels: whether the picture has names and numbers.
        render_mode: what `render` returns.

    Raises:
        SettingError: for any other value.
        GameError: if the data folder has no such games.
        MissingExtraError: if the engine is not installed.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4}  # noqa: RUF012 - as Gymnasium has it

    def __init__(
        self,
        data: str | Path | None = None,
        split: str = "train",
        task_types: Sequence[str] | None = None,
        num_games: int | None = None,
        actions: Actions = "text",
        reward: RewardKind = "gtr",
        illegal: IllegalRule = "continue",
        max_steps: int | None = None,
        cut_off: CutOff = "steps",
        image_size: int = 300,
        labels: bool = True,
        render_mode: str | None = None,
        order: Order = "random",
    ) -> None:
        for name, value, allowed in (
            ("actions", actions, get_args(Actions)),
            ("reward", reward, get_args(RewardKind)),
            ("illegal", illegal, get_args(IllegalRule)),
            ("cut_off", cut_off, get_args(CutOff)),
            ("labels", labels, (True, False)),
            ("order", order, get_args(Order)),
            ("render_mode", render_mode, (None, *self.metadata["render_modes"])),
        ):
            check_choice(name, value, allowed)
        self.actions, self.reward, self.illegal, self.cut_off, self.labels = actions, reward, illegal, cut_off, labels
        self.max_steps = step_limit(cut_off, max_steps)
        self.image_size = check_whole("image_size", image_size, *IMAGE_SIZES, unit=" pixels")
        self.render_mode = render_mode
        self.games = GameChoice(data, split, task_types, num_games, order)
        self.observation_space = gym.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        self.action_space = action_space(actions)
        self._engine: Engine | None = None
        self._played: dict[str, Any] = {}  # the game and what describes it; empty before the first
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a game.

        Args:
            seed: seeds the choice of this and the following games; None goes on with the generator.
            options: {"game": path} plays that game.

        Returns:
            The picture (image_size, image_size, 3) uint8, and the info dictionary.

        Raises:
            SettingError: for an unknown option, or a game that is no path.
            GameError: for a game that is missing or damaged, that cannot be won, or that is won from the start.
        """
        # Whatever goes wrong from here on, the game before is over: the engine may have let go of it.
        self._playing, self._played = False, {}
        given = checked_options(options)
        check_options(given, ["game"], "{'game': '.../game.tw-pddl'}")
        chosen = game_at(given["game"]) if "game" in given else None
        super().reset(seed=seed)
        if seed is not None:
            self.games.seed(seed)
        self._begin(*(chosen or self.games.game(self.games.next_number(self.np_random))))
        self._playing = True
        return self._picture(), self._info(illegal=False)

    def _begin(self, content: Mapping[str, Any], gamefile: str) -> None:
        self._engine = self._engine or Engine()
        with playable(gamefile):
            self._goal = goal_from_pddl(content["pddl_problem"])
        self._said: EngineState = self._engine.reset(content, gamefile)
        match = _TASK.search(self._said.feedback)
        self._task = match[1] if match else self._said.feedback
        self._task_type = self._goal.task_type
        self._visited: frozenset[str] = frozenset()
        self._seen_open: frozenset[str] = frozenset()
        self._views: tuple[View, ...] = ()
        self._start_counting()
        with playable(gamefile):
            self._places = places_of(self._said.entity_infos)
            self._look()
        self._played = {"content": content, "gamefile": gamefile}

    def _start_counting(self) -> None:
        self._done: tuple[str, ...] = ()  # what was played, which a copy plays again
        self._history: tuple[str, ...] = ()  # what was given
        self._steps, self._repeats, self._last = 0, 0, ""

    def _do(self, command: str) -> None:
        assert self._engine is not None
        self._said = self._engine.step(command)
        self._done += (command,)
        self._look()

    def _look(self) -> None:
        self._household: Household = read_household(self._said.facts, self._places)
        self._visited, self._seen_open = remember(self._household, self._visited, self._seen_open)
        self._views = (*self._views, visible(self._household, self._visited, self._seen_open))
        self._rate = goal_condition_rate(self._goal, self._household)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do what a command says.

        Args:
            action: a command, or with `actions="index"` its place among the admissible ones.

        Returns:
            Picture (image_size, image_size, 3) uint8, reward, terminated, truncated, info.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset and after the end of an episode.
            ActionError: if it is no text, or no index.
            GameError: if the game's texts do not say what comes of it. The episode is over then.
        """
        if not self._playing:
            raise ResetNeeded("no episode is running: call reset() before step()")
        commands = self._said.admissible_commands
        command = command_of(action, self.actions, commands)
        known = same_command(command, commands)
        illegal, before = known is None, self._rate
        self._playing = False  # should the engine fail
        self._steps += 1
        self._repeats = self._repeats + 1 if command == self._last else 1
        self._last = command
        self._history += (known or command[:LONGEST_COMMAND],)
        if known is None and self.illegal == "random":
            known = commands[int(self.np_random.integers(len(commands)))]
        if known is None:
            self._said = replace(self._said, feedback=NOTHING_HAPPENS)
        else:
            self._do(known)
        won = self._said.won
        truncated, extra = (False, 0.0)
        if not won:
            truncated, extra = cut_off_after(self.cut_off, self.max_steps, self._steps, self._repeats)
        reward = extra + step_reward(self.reward, won=won, rate=self._rate, before=before, illegal=illegal)
        self._playing = not (won or truncated)
        info = self._info(illegal)
        if not self._playing:
            info["is_success"] = won
        return self._picture(), reward, won, truncated, info

    def _picture(self) -> np.ndarray:
        return draw_view(self._views[-1], self.image_size, self.labels)

    def _info(self, illegal: bool) -> dict[str, Any]:
        return {
            **self._what_is_known(illegal),
            "views": self._views,
            "household": self._household,
            "goal": self._goal,
        }

    def _what_is_known(self, illegal: bool) -> dict[str, Any]:
        """The info without the records for experts."""
        commands = self._said.admissible_commands
        mask = np.zeros(MOST_COMMANDS, np.int8)
        mask[: len(commands)] = 1
        return {
            "task": self._task,
            "task_type": self._task_type,
            "admissible_commands": commands,
            "action_mask": mask,
            "feedback": self._said.feedback,
            "history": self._history,
            "won": self._said.won,
            "goal_condition_success_rate": self._rate,
            "gamefile": self._played["gamefile"],
            "illegal": illegal,
        }

    def render(self) -> np.ndarray | str | None:
        """The current picture ("rgb_array"), the engine's text ("ansi"), or None without a render mode."""
        if not self._played:
            raise ResetNeeded("no game was begun: call reset() before render()")
        if self.render_mode == "rgb_array":
            return self._picture()
        return f"{self._task} | {self._said.feedback}" if self.render_mode == "ansi" else None

    def close(self) -> None:
        """Give the engine back."""
        if self._engine is not None:
            self._engine.close()
            self._engine, self._playing = None, False

    # A copy plays the same commands again: the planner's library cannot be copied.

    def __getstate__(self) -> dict[str, Any]:
        """All but the engine."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_engine", "_said")}
        return {**state, "_feedback": self._said.feedback if self._played else ""}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy in mid-episode."""
        state = dict(state)
        feedback = state.pop("_feedback")
        self.__dict__.update(state)
        self._engine = None
        if self._played:
            self._begin(**self._played)
            for command in state["_done"]:
                self._do(command)
            self._said = replace(self._said, feedback=feedback)
            self.__dict__.update(state)  # the counts, and what was given but not played
