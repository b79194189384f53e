"""What can be asked for in a generated room, whether it can be done there, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gtr_envs.alfworld.furnish import LAMP, LAMP_PLACES, SMALL, PlacedThing, fits, may_undergo, things_of
from gtr_envs.alfworld.games import TASK_TYPES
from gtr_envs.alfworld.pddl import names_in_texts
from gtr_envs.alfworld.rooms import OPENABLE, ROOM_KINDS, Fixture, Room
from gtr_envs.errors import GameError

LOOK, TWO = TASK_TYPES[1], TASK_TYPES[5]
# The change that a task asks for: what the thing must be able to undergo, where that is done, and the command's verb.
_CHANGES = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin", "clean"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave", "heat"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge", "cool"),
}
# Which kinds of rooms the tasks are done in, as alfworld has it.
_ROOMS = {
    LOOK: ("LivingRoom", "Bedroom"),
    "pick_clean_then_place_in_recep": ("Kitchen", "Bathroom"),
    "pick_heat_then_place_in_recep": ("Kitchen",),
    "pick_cool_then_place_in_recep": ("Kitchen",),
}


@dataclass(frozen=True)
class Errand:
    """What is to be done.

    Attributes:
        task_type: one of `TASK_TYPES`.
        target: the type of thing, such as "Mug".
        receptacle: the type of where it goes, such as "Shelf"; for looking at something, "DeskLamp".
    """

    task_type: str
    target: str
    receptacle: str

    @property
    def number(self) -> int:
        """How many things are to be moved."""
        return 2 if self.task_type == TWO else 1


def rooms_for(task_type: str) -> tuple[str, ...]:
    """The kinds of rooms that tasks of a type are done in."""
    return _ROOMS.get(task_type, ROOM_KINDS)


def possible_errands(task_type: str, room: Room) -> list[Errand]:
    """All errands of a type that make sense in a room, sorted."""
    targets = sorted(set(things_of(room.kind)) - {LAMP})
    if task_type == LOOK:
        return [Errand(task_type, target, LAMP) for target in targets] if room.fixture_kinds & LAMP_PLACES else []
    ability, needed, _ = _CHANGES.get(task_type, ("", "", ""))
    if needed and needed not in room.fixture_kinds:
        return []
    destinations = sorted(room.fixture_kinds - {needed} - (SMALL if task_type == TWO else set()))
    return [
        Errand(task_type, target, kind)
        for target in targets
        for kind in destinations
        if fits(target, kind) and (not ability or target in may_undergo()[ability])
    ]


def check_solvable(room: Room, things: Sequence[PlacedThing], errand: Errand) -> None:
    """Make sure that a goal can be reached in a room, and is not reached yet.

    Every receptacle can be walked up to, every closed one opened and every thing but the lamp carried, so what is left
    is whether all that the goal needs is there.

    Args:
        room: the room.
        things: what lies in it.
        errand: what is to be done.

    Raises:
        GameError: says what is missing.
    """
    outside = [thing for thing in things if thing.kind == errand.target and thing.fixture.kind != errand.receptacle]
    where = f"FloorPlan{room.scene}"
    if len(outside) < errand.number or errand.target == LAMP:
        raise GameError(f"too few things to carry in {where}: {errand.number} of {errand.target} needed")
    inside = sum(thing.kind == errand.target for thing in things) - len(outside)
    if inside and errand.task_type != LOOK:
        raise GameError(f"a {errand.target} is in the {errand.receptacle} of {where} from the start")
    if errand.task_type == LOOK:
        if not any(thing.kind == LAMP for thing in things):
            raise GameError(f"no lamp in {where}")
        return
    if errand.receptacle not in room.fixture_kinds or not fits(errand.target, errand.receptacle):
        raise GameError(f"no {errand.receptacle} for the {errand.target} in {where}")
    if errand.task_type in _CHANGES:
        ability, fixture_kind, verb = _CHANGES[errand.task_type]
        if fixture_kind not in room.fixture_kinds or errand.target not in may_undergo()[ability]:
            raise GameError(f"nothing in {where} to {verb} the {errand.target} with")


def walkthrough(room: Room, things: Sequence[PlacedThing], errand: Errand) -> tuple[str, ...]:
    """Commands that reach a goal that `check_solvable` passed."""
    names = names_in_texts([fixture.object_id for fixture in room.fixtures] + [t.object_id for t in things])
    commands: list[str] = []
    here = ""
    opened: set[str] = set()

    def approach(fixture: Fixture, needs_open: bool = True) -> str:
        nonlocal here
        name = names[fixture.object_id]
        if fixture.location != here:
            commands.append(f"go to {name}")
            here = fixture.location
        if needs_open and fixture.kind in OPENABLE and name not in opened:
            commands.append(f"open {name}")
            opened.add(name)
        return name

    destination = next((fixture for fixture in room.fixtures if fixture.kind == errand.receptacle), None)
    targets = [thing for thing in things if thing.kind == errand.target and thing.fixture.kind != errand.receptacle]
    for target in targets[: errand.number]:
        name = names[target.object_id]
        place = approach(target.fixture)
        commands.append(f"take {name} from {place}")
        if errand.task_type in _CHANGES:
            _, kind, verb = _CHANGES[errand.task_type]
            place = approach(next(fixture for fixture in room.fixtures if fixture.kind == kind), needs_open=False)
            commands.append(f"{verb} {name} with {place}")
        if destination is not None:
            place = approach(destination)
            commands.append(f"move {name} to {place}")
    if errand.task_type == LOOK:
        lamp = next(thing for thing in things if thing.kind == LAMP)
        approach(lamp.fixture, needs_open=False)
        commands.append(f"use {names[lamp.object_id]}")
    return tuple(commands)
