"""What a step earns, and when an episode is cut off."""

from __future__ import annotations

from typing import Literal

from gtr_envs.errors import SettingError
from gtr_envs.options import check_whole

RewardKind = Literal["gtr", "sparse", "progress"]
CutOff = Literal["steps", "paper"]

REWARD_WON, REWARD_ILLEGAL, REWARD_CUT_OFF = 50.0, -1.0, -3.0
USUAL_STEPS, MOST_STEPS = 50, 1000
PAPER_STEPS, PAPER_REPEATS = 40, 5  # the paper's trainer stops after so many actions, or so many equal ones in a row


def step_limit(cut_off: CutOff, max_steps: int | None) -> int:
    """After how many steps an episode is cut off.

    Args:
        cut_off: by which rule.
        max_steps: what was asked for; None for the usual number of the rule.

    Raises:
        SettingError: if it is no such number, or the rule has a number of its own.
    """
    if cut_off == "paper":
        if max_steps is not None:
            raise SettingError(
                f"max_steps={max_steps!r} with cut_off='paper', which always ends by step {PAPER_STEPS}: leave out one"
            )
        return PAPER_STEPS
    return USUAL_STEPS if max_steps is None else check_whole("max_steps", max_steps, 1, MOST_STEPS)


def cut_off_after(cut_off: CutOff, limit: int, steps: int, repeats: int) -> tuple[bool, float]:
    """Whether an episode that is not won is cut off now, and what that adds to the reward.

    Args:
        cut_off: by which rule.
        limit: what `step_limit` gives.
        steps: how many steps there were.
        repeats: how often the last command was given in a row.
    """
    if cut_off == "paper":
        ends = steps >= limit or repeats >= PAPER_REPEATS
        return ends, REWARD_CUT_OFF if ends else 0.0
    return steps >= limit, 0.0


def step_reward(kind: RewardKind, *, won: bool, rate: float, before: float, illegal: bool) -> float:
    """What a step earns, the end by a cut-off aside.

    Args:
        kind: how steps are rewarded.
        won: whether the game is won now.
        rate: the share of the goal's conditions that hold now.
        before: the share that held before the step.
        illegal: whether the command was not admissible.
    """
    if kind == "sparse":
        return float(won)
    gained = REWARD_WON * won + rate if kind == "gtr" else rate - before
    return gained + (REWARD_ILLEGAL if illegal else 0.0)
