"""ALFWorld as a Gymnasium environment: household tasks on the real engine, seen as pictures."""

from __future__ import annotations

import operator
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from gtr_envs.alfworld.draw import draw_view
from gtr_envs.alfworld.engine import Engine, EngineState, read_content
from gtr_envs.alfworld.games import SPLITS, check_split, check_task_type, data_root, find_games
from gtr_envs.alfworld.generate import generate_game
from gtr_envs.alfworld.goals import goal_condition_rate, goal_from_pddl
from gtr_envs.alfworld.records import Household, View
from gtr_envs.alfworld.state import places_of, read_household, remember, visible
from gtr_envs.errors import ActionError, SettingError
from gtr_envs.options import IMAGE_SIZES, check_choice, check_options, check_whole, checked_options

RewardKind = Literal["gtr", "sparse", "progress"]
IllegalRule = Literal["continue", "random"]
CutOff = Literal["steps", "paper"]
Actions = Literal["text", "index"]

REWARD_WON, REWARD_ILLEGAL, REWARD_CUT_OFF = 50.0, -1.0, -3.0
PAPER_STEPS, PAPER_REPEATS = 40, 5  # the paper's trainer stops after so many actions, or so many equal ones in a row
MOST_GAMES = 1_000_000
MOST_COMMANDS = 256  # of an index; a kitchen with everything at hand has fewer
LONGEST_COMMAND = 200
GENERATED = "generated"
_TASK = re.compile(r"Your task is to: (.*?)\.?\s*$", re.DOTALL)
_PUT = re.compile(r"put (.+?) (?:in/on|into|onto|in|on|to) (.+)")
_MOVE = re.compile(r"move (.+?) to (.+)")


class ALFWorldEnv(gym.Env[np.ndarray, Any]):
    """Do a household task, one command at a time, seeing only what stands before you.

    ## Actions
    With `actions="text"` (default) a `Text`: a command such as "go to fridge 1". With `actions="index"` a
    `Discrete(256)`: the place of a command in `info["admissible_commands"]`. A command that is not among them is
    illegal. "put X in/on Y" and "move X to Y" are the same, whichever the game's own texts say.

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
    - `num_games`: only so many different games of those; by default all of the data set, and generated ones without end.
    - `actions`: "text" or "index". `reward`: "gtr", "sparse" or "progress".
    - `illegal`: what an illegal command does, "continue" (nothing happens) or "random" (a random admissible command is
      played instead, as the released GTR code does).
    - `max_steps`: 50 by default. `cut_off`: "steps" or "paper".
    - `image_size`: pixels, 300 by default. `labels`: whether names and numbers are written into the picture.
    - `render_mode`: None, "rgb_array" or "ansi".

    `reset(options={"game": path})` plays that game.

    ## Info
    - `task`: what is to be done, in the game's words; `task_type`: one of the six.
    - `admissible_commands`: sorted; `action_mask`: int8 array (256,), 1 for each of them.
    - `feedback`: the engine's text. `history`: the commands so far.
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
        max_steps: int = 50,
        cut_off: CutOff = "steps",
        image_size: int = 300,
        labels: bool = True,
        render_mode: str | None = None,
    ) -> None:
        for name, value, allowed in (
            ("actions", actions, get_args(Actions)),
            ("reward", reward, get_args(RewardKind)),
            ("illegal", illegal, get_args(IllegalRule)),
            ("cut_off", cut_off, get_args(CutOff)),
            ("labels", labels, (True, False)),
            ("render_mode", render_mode, (None, *self.metadata["render_modes"])),
        ):
            check_choice(name, value, allowed)
        self.split = check_split(split)
        self.task_types = None if task_types is None else tuple(map(check_task_type, _listed(task_types)))
        self.actions, self.reward, self.illegal, self.cut_off, self.labels = actions, reward, illegal, cut_off, labels
        self.num_games = None if num_games is None else check_whole("num_games", num_games, 1, MOST_GAMES)
        self.max_steps = check_whole("max_steps", max_steps, 1, 1000)
        self.image_size = check_whole("image_size", image_size, *IMAGE_SIZES, unit=" pixels")
        self.render_mode = render_mode
        root = None if data == GENERATED else data_root(data)
        self._games = () if root is None else _spread(find_games(root, split, self.task_types), self.num_games)
        self.observation_space = gym.spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
        self.action_space: gym.Space[Any] = gym.spaces.Discrete(MOST_COMMANDS)
        if actions == "text":
            letters = string.ascii_letters + string.digits + " /'-"
            self.action_space = gym.spaces.Text(LONGEST_COMMAND, charset=letters)
        self._engine: Engine | None = None
        self._played: dict[str, Any] = {}  # the game, what describes it, and the commands so far
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
            SettingError: for an unknown option.
            GameError: for a game that is missing or damaged.
        """
        given = checked_options(options)
        check_options(given, ["game"], "{'game': '.../game.tw-pddl'}")
        chosen = read_content(given["game"]) if "game" in given else None
        super().reset(seed=seed)
        gamefile = str(given.get("game", ""))
        if chosen is None:
            chosen, gamefile = self._choose()
        self._begin(chosen, gamefile)
        return self._picture(), self._info(illegal=False)

    def _choose(self) -> tuple[Mapping[str, Any], str]:
        """A game of the data set, or a generated one, and where it is from."""
        number = int(self.np_random.integers(2**62))
        if self._games:
            path = self._games[number % len(self._games)].path
            return read_content(path), str(path)
        if self.num_games is not None:
            number %= self.num_games
        random = np.random.default_rng([number, SPLITS.index(self.split)])
        kinds = self.task_types
        kind = kinds[int(random.integers(len(kinds)))] if kinds else None
        made = generate_game(random, self.split, kind)
        return made.game, f"generated/{self.split}/{made.task_id}/{number}"

    def _begin(self, content: Mapping[str, Any], gamefile: str, commands: Sequence[str] = ()) -> None:
        """Begin a game and play the commands again, if there are any."""
        self._engine = self._engine or Engine()
        self._goal = goal_from_pddl(content["pddl_problem"])
        self._said: EngineState = self._engine.reset(content)
        match = _TASK.search(self._said.feedback)
        self._task = match[1] if match else self._said.feedback
        self._places = places_of(self._said.entity_infos)
        self._played = {"content": content, "gamefile": gamefile, "commands": []}
        self._visited: frozenset[str] = frozenset()
        self._seen_open: frozenset[str] = frozenset()
        self._views: tuple[View, ...] = ()
        self._steps, self._repeats, self._last = 0, 0, ""
        self._playing = True
        self._look()
        for command in commands:
            self._do(command)

    def _do(self, command: str) -> None:
        assert self._engine is not None
        self._said = self._engine.step(command)
        self._played["commands"].append(command)
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
        """
        if not self._playing:
            raise ResetNeeded("no episode is running: call reset() before step()")
        command = self._command(action)
        known = same_command(command, self._said.admissible_commands)
        illegal, before = known is None, self._rate
        self._steps += 1
        self._repeats = self._repeats + 1 if command == self._last else 1
        self._last = command
        if known is None and self.illegal == "random":
            commands = self._said.admissible_commands
            known = commands[int(self.np_random.integers(len(commands)))]
        if known is not None:
            self._do(known)
        won = self._said.won
        truncated, extra = (False, 0.0) if won else self._cut_off()
        reward = self._reward(won, before, illegal) + extra
        self._playing = not (won or truncated)
        info = self._info(illegal)
        if not self._playing:
            info["is_success"] = won
        return self._picture(), reward, won, truncated, info

    def _command(self, action: Any) -> str:
        if self.actions == "text":
            if not isinstance(action, str):
                raise ActionError(f"action {action!r}: expected a command, a text such as 'go to fridge 1'")
            return " ".join(action.split())
        try:
            index = operator.index(action)
        except TypeError:
            index = -1
        if not 0 <= index < MOST_COMMANDS:
            raise ActionError(f"action {action!r}: expected a whole number from 0 to {MOST_COMMANDS - 1}")
        commands = self._said.admissible_commands
        return commands[index] if index < len(commands) else f"command {index} of {len(commands)}"

    def _cut_off(self) -> tuple[bool, float]:
        """Whether the episode is cut off now, and what that costs."""
        if self.cut_off == "paper":
            ends = self._steps >= PAPER_STEPS or self._repeats >= PAPER_REPEATS
            return ends, REWARD_CUT_OFF if ends else 0.0
        return self._steps >= self.max_steps, 0.0

    def _reward(self, won: bool, before: float, illegal: bool) -> float:
        if self.reward == "sparse":
            return float(won)
        gained = REWARD_WON * won + self._rate if self.reward == "gtr" else self._rate - before
        return gained + (REWARD_ILLEGAL if illegal else 0.0)

    def _picture(self) -> np.ndarray:
        return draw_view(self._views[-1], self.image_size, self.labels)

    def _info(self, illegal: bool) -> dict[str, Any]:
        commands = self._said.admissible_commands
        mask = np.zeros(MOST_COMMANDS, np.int8)
        mask[: len(commands)] = 1
        return {
            "task": self._task,
            "task_type": self._goal.task_type,
            "admissible_commands": commands,
            "action_mask": mask,
            "feedback": self._said.feedback,
            "history": tuple(self._played["commands"]),
            "won": self._said.won,
            "goal_condition_success_rate": self._rate,
            "views": self._views,
            "household": self._household,
            "goal": self._goal,
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
        return {name: value for name, value in self.__dict__.items() if name not in ("_engine", "_said")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy in mid-episode."""
        self.__dict__.update(state)
        self._engine = None
        if self._played:
            counts = self._steps, self._repeats, self._last, self._playing
            played = self._played
            self._begin(played["content"], played["gamefile"], played["commands"])
            self._steps, self._repeats, self._last, self._playing = counts


def same_command(command: str, admissible: Sequence[str]) -> str | None:
    """The admissible command that says the same, "put X in/on Y" for "move X to Y" and the reverse included."""
    if command in admissible:
        return command
    match = _PUT.fullmatch(command) or _MOVE.fullmatch(command)
    if match is None:
        return None
    forms = ("move {} to {}", "put {} in/on {}", "put {} in {}", "put {} on {}")
    return next((form for form in (each.format(*match.groups()) for each in forms) if form in admissible), None)


def _listed(task_types: Any) -> Sequence[str]:
    if isinstance(task_types, str) or not isinstance(task_types, Sequence) or not task_types:
        raise SettingError(f"task_types={task_types!r}: expected a list such as ['pick_and_place_simple'], or None")
    return task_types


def _spread(games: Sequence[Any], count: int | None) -> Sequence[Any]:
    """So many of the games, evenly spaced: side by side they are alike. All, if there are no more than that."""
    if count is None or count >= len(games):
        return games
    return tuple(games[index * len(games) // count] for index in range(count))
