"""A generated household without the engine: its state, what can be done in it, and the way to a goal.

A game is rehearsed before it is handed out. That takes about a millisecond, where the engine would first have to
translate it. The rules are those of alfworld's domain for all that changes the household, but for slicing, which no
goal asks for; the tests compare them with the engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from gtr_envs.alfworld.furnish import LAMP, PlacedThing, may_contain, may_undergo
from gtr_envs.alfworld.goals import Goal, goal_condition_rate
from gtr_envs.alfworld.pddl import names_in_texts, start_location
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, Household, Receptacle, Thing
from gtr_envs.alfworld.rooms import OPENABLE, Point, Room
from gtr_envs.alfworld.solver import APPLIANCES, next_command
from gtr_envs.alfworld.state import METRES_PER_UNIT, at_hand, name_order
from gtr_envs.errors import GameError

LONGEST_WAY = 50  # commands, after which the environments cut off
_ABILITIES = {CLEAN: "Cleanable", HOT: "Heatable", COOL: "Coolable"}
_OPPOSITES = {HOT: COOL, COOL: HOT}


def rehearse(room: Room, things: Sequence[PlacedThing], goal: Goal) -> tuple[str, ...]:
    """Let the solver play to the goal.

    Where the agent begins does not matter: in front of no receptacle, from where it can go to each.

    Args:
        room: the room.
        things: what lies in it.
        goal: what is to be done.

    Returns:
        The commands that reach the goal.

    Raises:
        GameError: the goal is reached from the start, or the solver does not reach it; says after which command.
    """
    household = household_of(room, things)
    asked = f"{goal.task_type} with {goal.kind} and {goal.receptacle or goal.lamp} in FloorPlan{room.scene}"
    if goal_condition_rate(goal, household) == 1:
        raise GameError(f"{asked} is done from the start: ask for something else")
    commands: list[str] = []
    while goal_condition_rate(goal, household) < 1:
        possible = outcomes(household)
        command = next_command(goal, household, list(possible))
        if command is None or len(commands) == LONGEST_WAY:
            last = f"after {commands[-1]!r}" if commands else "at the start"
            raise GameError(f"the solver cannot do {asked}, it ends {last}: draw another room or other things")
        commands.append(command)
        household = possible[command]
    return tuple(commands)


def household_of(room: Room, things: Sequence[PlacedThing], start: Point | None = None) -> Household:
    """The state that a generated game begins in, as `read_household` would read it from the engine.

    Args:
        room: the room.
        things: what lies in it.
        start: (x, z) of where the agent begins, in centimetres; None for a place that has no name.
    """
    begins = [] if start is None else [start_location(start)]
    places = sorted({fixture.location for fixture in room.fixtures} | set(begins))
    ids = [fixture.object_id for fixture in room.fixtures] + [placed.object_id for placed in things]
    names = names_in_texts(ids + places)
    contents = defaultdict(list)
    for placed in things:
        contents[placed.fixture.object_id].append(Thing(names[placed.object_id], placed.kind.lower()))
    receptacles = []
    for fixture in room.fixtures:
        x, z = (int(part) * METRES_PER_UNIT for part in fixture.location.split("|")[1:3])
        within = _in_order(contents[fixture.object_id])
        name, place, openable = names[fixture.object_id], names[fixture.location], fixture.kind in OPENABLE
        receptacles.append(Receptacle(name, fixture.kind.lower(), place, x, z, openable, contents=within))
    lamps = [
        (Thing(names[placed.object_id], LAMP.lower()), names[placed.fixture.location])
        for placed in things
        if placed.kind == LAMP
    ]
    return Household(
        receptacles=tuple(sorted(receptacles, key=lambda receptacle: name_order(receptacle.name))),
        holding=None,
        place=names[begins[0]] if begins else "",
        lamps=tuple(sorted(lamps, key=lambda lamp: name_order(lamp[0].name))),
    )


def outcomes(household: Household) -> dict[str, Household]:
    """What can be done in a generated household.

    Args:
        household: its state.

    Returns:
        For each command that changes something, in the engine's words, the state after it.
    """
    found = {
        f"go to {receptacle.name}": replace(household, place=receptacle.place)
        for receptacle in household.receptacles
        if receptacle.place != household.place
    }
    for receptacle in at_hand(household):
        if receptacle.openable:
            verb = "close" if receptacle.is_open else "open"
            found[f"{verb} {receptacle.name}"] = _with(household, replace(receptacle, is_open=not receptacle.is_open))
        if household.holding is None:
            found.update(_taking(household, receptacle))
        else:
            found.update(_using(household, receptacle, household.holding))
        lamps = [thing for thing in receptacle.contents if thing.kind == LAMP.lower()]
        found.update((f"use {lamp.name}", _lighting(household, receptacle, lamp)) for lamp in lamps)
    return found


def _taking(household: Household, receptacle: Receptacle) -> Iterator[tuple[str, Household]]:
    """With an empty hand: to take each thing that one can see, but for lamps."""
    if not receptacle.shows_contents:
        return
    for thing in receptacle.contents:
        if thing.kind != LAMP.lower():
            rest = tuple(other for other in receptacle.contents if other != thing)
            after = _with(household, replace(receptacle, contents=rest))
            yield f"take {thing.name} from {receptacle.name}", replace(after, holding=thing)


def _using(household: Household, receptacle: Receptacle, held: Thing) -> Iterator[tuple[str, Household]]:
    """With something in hand: to put it down where it fits, and to clean, heat or cool it."""
    if receptacle.shows_contents and held.kind in _fitting().get(receptacle.kind, ()):
        filled = replace(receptacle, contents=_in_order([*receptacle.contents, held]))
        yield f"move {held.name} to {receptacle.name}", replace(_with(household, filled), holding=None)
    for state, (verb, kind) in APPLIANCES.items():
        if receptacle.kind == kind and held.kind in _able()[state]:
            states = held.states - {_OPPOSITES.get(state, "")} | {state}
            yield f"{verb} {held.name} with {receptacle.name}", replace(household, holding=replace(held, states=states))


def _lighting(household: Household, receptacle: Receptacle, lamp: Thing) -> Household:
    """Switching a lamp on; the engine never takes it for switched off again."""
    lit = replace(lamp, states=lamp.states | {ON})
    contents = tuple(lit if thing == lamp else thing for thing in receptacle.contents)
    lamps = tuple((lit if other == lamp else other, place) for other, place in household.lamps)
    return replace(_with(household, replace(receptacle, contents=contents)), lamps=lamps)


def _with(household: Household, changed: Receptacle) -> Household:
    """The household with a receptacle changed."""
    receptacles = tuple(changed if each.name == changed.name else each for each in household.receptacles)
    return replace(household, receptacles=receptacles)


def _in_order(things: Sequence[Thing]) -> tuple[Thing, ...]:
    return tuple(sorted(things, key=lambda thing: name_order(thing.name)))


@lru_cache(maxsize=1)
def _fitting() -> dict[str, frozenset[str]]:
    """What may lie in each type of receptacle, with the types as records have them."""
    return {kind.lower(): frozenset(map(str.lower, things)) for kind, things in may_contain().items()}


@lru_cache(maxsize=1)
def _able() -> dict[str, frozenset[str]]:
    """The types of things that can be brought into each state, as records have them."""
    return {state: frozenset(map(str.lower, may_undergo()[action])) for state, action in _ABILITIES.items()}
