"""What can be asked for in a generated room."""

from __future__ import annotations

from dataclasses import dataclass

from gtr_envs.alfworld.furnish import LAMP, LAMP_PLACES, SMALL, fits, may_undergo, things_of
from gtr_envs.alfworld.goals import CLEAN_AND_PLACE, COOL_AND_PLACE, HEAT_AND_PLACE, LOOK, TWO, Goal
from gtr_envs.alfworld.rooms import ROOM_KINDS, Room

# The change that a task asks for: what the thing must be able to undergo, and where that is done.
_CHANGES = {
    CLEAN_AND_PLACE: ("Cleanable", "SinkBasin"),
    HEAT_AND_PLACE: ("Heatable", "Microwave"),
    COOL_AND_PLACE: ("Coolable", "Fridge"),
}
# Which kinds of rooms the tasks are done in, as alfworld has it.
_ROOMS = {
    LOOK: ("LivingRoom", "Bedroom"),
    CLEAN_AND_PLACE: ("Kitchen", "Bathroom"),
    HEAT_AND_PLACE: ("Kitchen",),
    COOL_AND_PLACE: ("Kitchen",),
}


@dataclass(frozen=True)
class Errand:
    """What is to be done.

    Attributes:
        task_type: one of `games.TASK_TYPES`.
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

    @property
    def goal(self) -> Goal:
        """The same with the types in the letters of the engine's texts."""
        target, receptacle = self.target.lower(), self.receptacle.lower()
        if self.task_type == LOOK:
            return Goal(self.task_type, target, lamp=receptacle)
        return Goal(self.task_type, target, receptacle)


def rooms_for(task_type: str) -> tuple[str, ...]:
    """The kinds of rooms that tasks of a type are done in."""
    return _ROOMS.get(task_type, ROOM_KINDS)


def possible_errands(task_type: str, room: Room) -> list[Errand]:
    """All errands of a type that make sense in a room, sorted."""
    targets = sorted(set(things_of(room.kind)) - {LAMP})
    if task_type == LOOK:
        return [Errand(task_type, target, LAMP) for target in targets] if room.fixture_kinds & LAMP_PLACES else []
    ability, needed = _CHANGES.get(task_type, ("", ""))
    if needed and needed not in room.fixture_kinds:
        return []
    destinations = sorted(room.fixture_kinds - {needed} - (SMALL if task_type == TWO else set()))
    return [
        Errand(task_type, target, kind)
        for target in targets
        for kind in destinations
        if fits(target, kind) and (not ability or target in may_undergo()[ability])
    ]
