"""NumberLine: read two numbers from a picture and step along a line from the one to the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtr_envs.cards.outcome import Outcome
from gtr_envs.cards.sketch import Color, Sketch
from gtr_envs.cards.table import TableEnv, all_allowed
from gtr_envs.cards.themes import Theme, ThemeName
from gtr_envs.errors import SettingError
from gtr_envs.options import check_options, check_whole

ACTIONS = ("-", "+")
MOST_POSITIONS = (1, 20)  # of max_position
REWARD_GOAL, REWARD_ASTRAY = 1.0, -1.0
EXAMPLE = "{'start': 2, 'goal': 5}"

TEXT_BOARD, LINE_BOARD = (4.0, 4.0, 296.0, 148.0), (4.0, 152.0, 296.0, 296.0)
LABELS_LEFT, LABEL_HEIGHT, BELOW_LINE = 36.0, 30.0, 1.23  # ink is so much higher once a letter goes below the line
NUMBERS_LEFT, NUMBER_HEIGHT = 204.0, 44.0
TARGET_LINE, CURRENT_LINE = 66.0, 132.0  # what the texts stand on
ENDS, AXIS = (36.0, 256.0), 98.0  # of the drawn line, inside its board
FLAG, PIECE = (-4.0, -78.0, 30.0, 0.0), (-12.0, -45.0, 12.0, 0.0)  # left, top, right, bottom, from where they stand
MOST_NUMBERS = 10  # on a longer line every second position is written


def moved(position: int, action: str, max_position: int) -> int:
    """The position after a step; a step against the border leaves it."""
    return min(max(position + (1 if action == "+" else -1), 0), max_position)


def step_reward(before: int, after: int, goal: int) -> float:
    """+1 for reaching the goal, -1 for a step that does not come closer, else 0."""
    if after == goal:
        return REWARD_GOAL
    return 0.0 if abs(goal - after) < abs(goal - before) else REWARD_ASTRAY


def different_pair(number: int, max_position: int) -> tuple[int, int]:
    """The start and goal with a number: all pairs of different positions, counted from 0."""
    start, other = divmod(number, max_position)
    return start, other + (other >= start)


def place_of(position: int, max_position: int) -> float:
    """Where a position is on the drawn line, from the left edge of its board."""
    # Whole coordinates: what stands there then has exactly the same size everywhere, and is drawn only once.
    return float(round(ENDS[0] + (ENDS[1] - ENDS[0]) * position / max_position))


@dataclass(frozen=True)
class Axis:
    """Draws the line with its ticks and numbers, on a sketch as large as its board.

    Args:
        max_position: where the line ends.
    """

    max_position: int

    def __call__(self, sketch: Sketch, theme: Theme) -> None:
        """Draw it in the colours of a theme."""
        every = 1 if self.max_position <= MOST_NUMBERS else 2
        room = every * (ENDS[1] - ENDS[0]) / self.max_position  # for a number
        height, half = min(22.0, 0.55 * room), 0.45 * room
        sketch.box((ENDS[0] - 12, AXIS - 2, ENDS[1] + 12, AXIS + 2), 2, theme.board_edge)
        for position in range(self.max_position + 1):
            x, is_numbered = place_of(position, self.max_position), position % every == 0
            reach = 8 if is_numbered else 5
            sketch.box((x - 1.5, AXIS - reach, x + 1.5, AXIS + reach), 1.5, theme.board_edge)
            if is_numbered:
                sketch.text(str(position), (x - half, AXIS + 13, x + half, AXIS + 13 + height), theme.chalk, 0.02)


def draw_flag(sketch: Sketch, theme: Theme) -> None:
    """Draw the flag at the target, on a sketch of `FLAG`."""
    pole, foot = -FLAG[0], -FLAG[1]
    sketch.polygon([(pole, 2), (pole + 28, 14), (pole, 26)], theme.accent)
    sketch.box((pole - 1.75, 0, pole + 1.75, foot), 1.75, theme.accent)


def draw_piece(sketch: Sketch, theme: Theme) -> None:
    """Draw the piece at the current position, as on a game board, on a sketch of `PIECE`."""
    middle, foot = -PIECE[0], -PIECE[1]
    sketch.polygon([(middle - 4, 15), (middle + 4, 15), (middle + 9, foot - 5), (middle - 9, foot - 5)], theme.chalk)
    sketch.box((0, foot - 8, 2 * middle, foot), 2.5, theme.chalk)
    # A collar in a suit's colour, or the theme with four of them would look like the classic one.
    sketch.box((middle - 8, 17, middle + 8, 21), 2, theme.ink["D"])
    sketch.disc(middle, 9.5, 9, theme.chalk)


class NumberLineEnv(TableEnv):
    """Read two numbers from a picture and step along a line from the one to the other.

    ## Actions
    `Discrete(2)`, an index into `ACTIONS`: 0 is "-", a step down; 1 is "+", a step up. A step against the border leaves
    the position. Both are always allowed.

    ## Observations
    `Box(0, 255, (image_size, image_size, 3), uint8)`: the target and the current position in figures, and under
    them the line with a flag at the target and a piece at the current position. With `copy=True` each observation is an
    array of its own that is never changed afterwards.

    ## Rewards
    +1 for reaching the target, -1 for a step that does not come closer to it (against the border too), else 0.

    ## Episode end
    Terminated at the target. Truncated by step number 2 * `max_position`, if that does not reach it.

    ## Options
    - `max_position`: the positions are the whole numbers from 0 to this one, 5 by default, 1 to 20.
    - `theme`, `image_size`, `render_mode`, `copy`: as in all environments with cards.

    `reset(options={"start": 2, "goal": 5})` begins at 2, with the target 5.

    **The draw.** Start and target are different, and every such pair is equally likely: one whole number from the
    environment's generator is the pair's place in their list, by start, then by target. Steps draw nothing.

    ## Info
    - `target`, `current`, `max_position`: as in the picture.
    - `distance`: the fewest steps to the target.
    - `action_mask`: int8 array (2,), all ones; `illegal`: False.
    - `is_success`: whether the target was reached; only at the end of an episode.

    ## Version history
    - v0: first version (gtr_envs 0.1.0).

    Args:
        theme: see Options, as the others.
        image_size: pixels, from 64 to 1024.
        render_mode: what `render` returns.
        copy: whether each observation is an array of its own.
        max_position: where the line ends.

    Raises:
        SettingError: for any other value.
    """

    def __init__(
        self,
        theme: ThemeName = "classic",
        image_size: int = 300,
        render_mode: str | None = None,
        copy: bool = True,
        max_position: int = 5,
    ) -> None:
        self.max_position = check_whole("max_position", max_position, *MOST_POSITIONS)
        super().__init__(ACTIONS, theme, image_size, render_mode, copy)
        self._goal = self._position = 0
        self._steps_taken = 0

    def _deal(self, options: Mapping[str, Any]) -> None:
        given = _given_pair(options, self.max_position)
        if given is None:
            pairs = (self.max_position + 1) * self.max_position
            given = different_pair(int(self.np_random.integers(pairs)), self.max_position)
        self._position, self._goal = given
        self._steps_taken = 0

    def _play(self, action: int) -> Outcome:
        before = self._position
        self._position = moved(before, ACTIONS[action], self.max_position)
        self._steps_taken += 1
        arrived = self._position == self._goal
        is_last = self._steps_taken >= 2 * self.max_position
        self._paint()
        reward = step_reward(before, self._position, self._goal)
        return Outcome(reward, terminated=arrived, truncated=is_last and not arrived, success=arrived)

    def _info(self) -> dict[str, Any]:
        return {
            "target": self._goal,
            "current": self._position,
            "max_position": self.max_position,
            "distance": abs(self._goal - self._position),
            "action_mask": all_allowed(len(ACTIONS)),
            "illegal": False,
        }

    def _describe(self) -> str:
        return f"target {self._goal} | current {self._position} | 0 to {self.max_position}"

    def _paint(self) -> None:
        painter, canvas = self.painter, self.canvas
        painter.background(canvas)
        painter.board(canvas, TEXT_BOARD)
        painter.board(canvas, LINE_BOARD)
        self._write("Target:", self._goal, TARGET_LINE, LABEL_HEIGHT * BELOW_LINE, painter.theme.accent)
        self._write("Current:", self._position, CURRENT_LINE, LABEL_HEIGHT, painter.theme.chalk)
        painter.sketch(canvas, LINE_BOARD, Axis(self.max_position))
        for position, (left, top, right, bottom), draw in (
            (self._goal, FLAG, draw_flag),
            (self._position, PIECE, draw_piece),
        ):
            x, y = LINE_BOARD[0] + place_of(position, self.max_position), LINE_BOARD[1] + AXIS
            painter.sketch(canvas, (x + left, y + top, x + right, y + bottom), draw)

    def _write(self, label: str, number: int, line: float, height: float, color: Color) -> None:
        top, right = line - LABEL_HEIGHT, TEXT_BOARD[2]
        self.painter.text(self.canvas, label, (LABELS_LEFT, top, NUMBERS_LEFT, top + height), color, 0.015, "left")
        box = (NUMBERS_LEFT, line - NUMBER_HEIGHT, right, line)
        self.painter.text(self.canvas, str(number), box, color, 0.04, "left")


def _given_pair(options: Mapping[str, Any], max_position: int) -> tuple[int, int] | None:
    """The start and goal that were asked for, or None."""
    check_options(options, ("start", "goal"), EXAMPLE)
    start, goal = options.get("start"), options.get("goal")
    if start is None and goal is None:
        return None
    if start is None or goal is None:
        missing = "start" if start is None else "goal"
        raise SettingError(f"reset options without {missing!r}: expected both 'start' and 'goal' or neither")
    pair = check_whole("start", start, 0, max_position), check_whole("goal", goal, 0, max_position)
    if pair[0] == pair[1]:
        raise SettingError(f"start={start!r} and goal={goal!r}: expected different positions, as in {EXAMPLE}")
    return pair
