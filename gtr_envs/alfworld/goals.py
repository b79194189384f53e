"""What a game asks for, and how much of it is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtr_envs.alfworld.games import TASK_TYPES
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, Household, Thing
from gtr_envs.errors import GameError

SIMPLE, LOOK, CLEAN_AND_PLACE, HEAT_AND_PLACE, COOL_AND_PLACE, TWO = TASK_TYPES
NEEDED_STATE = {CLEAN_AND_PLACE: CLEAN, HEAT_AND_PLACE: HOT, COOL_AND_PLACE: COOL}
_STATE_FACTS = {"isclean": CLEAN_AND_PLACE, "ishot": HEAT_AND_PLACE, "iscool": COOL_AND_PLACE}
_UNSUPPORTED = ("issliced", "inreceptacleobject")


@dataclass(frozen=True)
class Goal:
    """What a game asks for.

    Attributes:
        task_type: one of `TASK_TYPES`.
        kind: the type of the thing, such as "mug".
        receptacle: the type of the receptacle that it is to end in or on; empty for looking at something in light.
        lamp: the type of the lamp to look at it in; empty for the other tasks.
    """

    task_type: str
    kind: str
    receptacle: str = ""
    lamp: str = ""

    @property
    def state(self) -> str:
        """The state that the thing must be in: "clean", "hot", "cool", or empty."""
        return NEEDED_STATE.get(self.task_type, "")


def goal_from_pddl(text: str) -> Goal:
    """Reads the goal from a problem in the engine's language, or from its goal section alone.

    Raises:
        GameError: no goal of one of the six task types is in the text.
    """
    start = text.lower().find("(:goal")
    section = " ".join(text.lower()[start:].split()) if start >= 0 else ""
    typed = re.findall(r"\(objecttype (\S+) (\w+?)type ?\)", section)
    receptacles = re.findall(r"\(receptacletype \S+ (\w+?)type ?\)", section)
    toggled = re.findall(r"\(istoggled (\S+?) ?\)", section)
    lamps = [kind for variable, kind in typed if variable in toggled]
    kinds = [kind for variable, kind in typed if variable not in toggled]
    known = not any(fact in section for fact in _UNSUPPORTED) and len(set(kinds)) == 1
    if known and len(lamps) == 1 and not receptacles:
        return Goal(LOOK, kinds[0], lamp=lamps[0])
    if known and not lamps and len(set(receptacles)) == 1:
        if len(kinds) == 2:
            return Goal(TWO, kinds[0], receptacles[0])
        states = [task_type for fact, task_type in _STATE_FACTS.items() if f"({fact} " in section]
        return Goal(states[0] if states else SIMPLE, kinds[0], receptacles[0])
    shown = section[:200] or "no (:goal ...) section"
    raise GameError(f"the game's goal is none of {', '.join(TASK_TYPES)}: {shown}")


def goal_from_trajectory(trajectory: Mapping[str, Any]) -> Goal:
    """Reads the goal from the contents of a `traj_data.json`.

    Raises:
        GameError: its task is not one of the six types, or the names of what it is about are missing.
    """
    task_type, targets = trajectory.get("task_type"), trajectory.get("pddl_params")
    if task_type not in TASK_TYPES or not isinstance(targets, Mapping) or targets.get("object_sliced"):
        raise GameError(f"task_type is {task_type!r}, not one of {', '.join(TASK_TYPES)}, of a thing that is whole")
    wanted = ("object_target", "toggle_target" if task_type == LOOK else "parent_target")
    kind, other = (str(targets.get(key) or "").lower() for key in wanted)
    if not kind or not other:
        raise GameError(f"pddl_params of a {task_type} needs {' and '.join(wanted)}: {dict(targets)}")
    return Goal(task_type, kind, lamp=other) if task_type == LOOK else Goal(task_type, kind, other)


def goal_condition_rate(goal: Goal, household: Household) -> float:
    """The share of the goal's conditions that hold, 1 exactly when the game is won.

    Placing counts the thing in place; two of them, each in the same receptacle; looking, that it is held and that the
    agent is at a lamp which was switched on; with a state to bring about, that one is in place, that one is in that
    state, and that one is both.
    """
    if goal.task_type == LOOK:
        held = household.holding is not None and household.holding.kind == goal.kind
        return (held + lit(goal, household)) / 2
    placed = [
        [thing for thing in receptacle.contents if thing.kind == goal.kind]
        for receptacle in household.receptacles
        if receptacle.kind == goal.receptacle
    ]
    if goal.task_type == TWO:
        return min(max(map(len, placed), default=0), 2) / 2
    in_place = [thing for things in placed for thing in things]
    if not goal.state:
        return float(bool(in_place))
    conditions = (
        bool(in_place),
        any(goal.state in thing.states for thing in things_of_kind(goal, household)),
        any(goal.state in thing.states for thing in in_place),
    )
    return sum(conditions) / len(conditions)


def lit(goal: Goal, household: Household) -> bool:
    """Whether the agent stands at a lamp of the goal's type that was switched on."""
    return any(
        lamp.kind == goal.lamp and ON in lamp.states and place == household.place for lamp, place in household.lamps
    )


def things_of_kind(goal: Goal, household: Household) -> list[Thing]:
    """All things of the goal's type, the one in hand first."""
    found = [thing for receptacle in household.receptacles for thing in receptacle.contents if thing.kind == goal.kind]
    held = household.holding
    return [held, *found] if held is not None and held.kind == goal.kind else found
