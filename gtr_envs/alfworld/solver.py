"""Plays towards the goal one command at a time, given a state of which it believes everything.

Given the whole state it is the upper bound, and the check that a game can be won. The explorer gives it what it has
seen so far instead, and searches on where this finds nothing to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from gtr_envs.alfworld.goals import TWO, Goal, goal_condition_rate, lit
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, Household, Receptacle, Thing
from gtr_envs.alfworld.state import name_order

APPLIANCES = {CLEAN: ("clean", "sinkbasin"), HOT: ("heat", "microwave"), COOL: ("cool", "fridge")}


def next_command(goal: Goal, household: Household, admissible: Sequence[str]) -> str | None:
    """The next command towards the goal.

    Args:
        goal: what the game asks for.
        household: the state, or what is known of it.
        admissible: the commands that the engine takes now.

    Returns:
        One of the admissible commands, or None where nothing helps, as when the game is won or the thing is nowhere.
    """
    if goal_condition_rate(goal, household) == 1:
        return None
    held = household.holding
    if held is None:
        return _fetch(goal, household, admissible)
    if held.kind != goal.kind:
        return _put_away(household, held, admissible)
    if goal.lamp:
        return _light(goal, household, admissible)
    if goal.state and goal.state not in held.states:
        return _bring_about(goal, household, held, admissible)
    return _deliver(goal, household, held, admissible)


def first_admissible(wanted: Iterable[str], admissible: Collection[str]) -> str | None:
    """The first of the wanted commands that is admissible."""
    return next((command for command in wanted if command in admissible), None)


def put_commands(thing: str, receptacle: str) -> tuple[str, ...]:
    """The ways to say that a thing is put somewhere; which of them a game takes depends on its grammar."""
    forms = ("move {} to {}", "put {} in/on {}", "put {} in {}", "put {} on {}")
    return tuple(form.format(thing, receptacle) for form in forms)


def target_receptacle(goal: Goal, household: Household) -> Receptacle | None:
    """The receptacle to bring the thing to: the one with the most of them if two are asked for, else the handiest."""
    return min(
        (receptacle for receptacle in household.receptacles if receptacle.kind == goal.receptacle),
        key=lambda r: (-_count(goal, r) if goal.task_type == TWO else 0, *_handiness(r, household)),
        default=None,
    )


def _count(goal: Goal, receptacle: Receptacle) -> int:
    """How many things of the goal's type are in it."""
    return sum(thing.kind == goal.kind for thing in receptacle.contents)


def _handiness(receptacle: Receptacle, household: Household) -> tuple[bool, bool, tuple[str, int]]:
    """Sorts receptacles: those at hand first, then those that need not be opened, then by name."""
    return receptacle.place != household.place, not receptacle.shows_contents, name_order(receptacle.name)


def _reach(receptacle: Receptacle, household: Household, admissible: Sequence[str]) -> str | None:
    """Goes to a receptacle or, standing before it, opens it; None where neither is needed or possible."""
    if receptacle.place != household.place:
        return first_admissible([f"go to {receptacle.name}"], admissible)
    return None if receptacle.shows_contents else first_admissible([f"open {receptacle.name}"], admissible)


def _fetch(goal: Goal, household: Household, admissible: Sequence[str]) -> str | None:
    """Takes a thing of the goal's type, or does what comes before that."""
    target = target_receptacle(goal, household) if goal.task_type == TWO else None
    # By name: the engine knows of things that lie in two receptacles at once, and taking one leaves it in the other.
    delivered = {thing.name for thing in target.contents} if target else set()
    found = [
        (goal.state not in thing.states, _handiness(receptacle, household), name_order(thing.name), thing, receptacle)
        for receptacle in household.receptacles
        for thing in receptacle.contents
        if thing.kind == goal.kind and thing.name not in delivered
    ]
    if not found:
        return None
    *_, thing, receptacle = min(found, key=lambda entry: entry[:3])
    commands = [f"take {thing.name} from {receptacle.name}"]
    return first_admissible(commands, admissible) or _reach(receptacle, household, admissible)


def _bring_about(goal: Goal, household: Household, held: Thing, admissible: Sequence[str]) -> str | None:
    """Cleans, heats or cools what is held, or goes to where that is done."""
    verb, kind = APPLIANCES[goal.state]
    appliances = [receptacle for receptacle in household.receptacles if receptacle.kind == kind]
    ordered = sorted(appliances, key=lambda receptacle: _handiness(receptacle, household))
    commands = [f"{verb} {held.name} with {receptacle.name}" for receptacle in ordered]
    commands += [f"go to {receptacle.name}" for receptacle in ordered if receptacle.place != household.place]
    return first_admissible(commands, admissible)


def _deliver(goal: Goal, household: Household, held: Thing, admissible: Sequence[str]) -> str | None:
    """Puts what is held where it is asked for, or does what comes before that."""
    target = target_receptacle(goal, household)
    if target is None:
        return None
    commands = put_commands(held.name, target.name)
    return first_admissible(commands, admissible) or _reach(target, household, admissible)


def _light(goal: Goal, household: Household, admissible: Sequence[str]) -> str | None:
    """Switches a lamp on, or goes to one: one that is on already, else the first."""
    if lit(goal, household):
        return None
    lamps = [(lamp, place) for lamp, place in household.lamps if lamp.kind == goal.lamp]
    commands = [f"use {lamp.name}" for lamp, place in lamps if place == household.place]
    for lamp, place in sorted(lamps, key=lambda entry: (ON not in entry[0].states, name_order(entry[0].name))):
        with_lamp = [r for r in household.receptacles if r.place == place]
        with_lamp.sort(key=lambda r: lamp.name not in {thing.name for thing in r.contents})
        commands += [f"go to {receptacle.name}" for receptacle in with_lamp]
    return first_admissible(commands, admissible)


def _put_away(household: Household, held: Thing, admissible: Sequence[str]) -> str | None:
    """Puts down a thing that is not asked for, at hand if something there takes it, else on a round of the room."""
    here = [receptacle for receptacle in household.receptacles if receptacle.place == household.place]
    commands = [command for receptacle in here for command in put_commands(held.name, receptacle.name)]
    commands += [f"open {receptacle.name}" for receptacle in here if not receptacle.shows_contents]
    # What takes it is not known, so the round goes on from here by name and comes to everything, without memory.
    every = household.receptacles
    start = every.index(here[-1]) + 1 if here else 0
    around = [receptacle for receptacle in every[start:] + every[:start] if receptacle not in here]
    commands += [f"go to {receptacle.name}" for receptacle in around]
    return first_admissible(commands, admissible)
