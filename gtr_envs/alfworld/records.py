"""What is known of a household: typed records, of the whole state and of what the agent can see of it.

Names are those of the engine's texts, a type and a number: "mug 1", "fridge 1". Types are in lower case without spaces,
such as "coffeemachine" or "sinkbasin".
"""

from __future__ import annotations

from dataclasses import dataclass

HOT, COOL, CLEAN, SLICED, ON = "hot", "cool", "clean", "sliced", "on"


@dataclass(frozen=True)
class Thing:
    """Something that can be carried, or a lamp.

    Attributes:
        name: such as "mug 1".
        kind: its type, such as "mug".
        states: those of "hot", "cool", "clean", "sliced" and "on" that hold.
    """

    name: str
    kind: str
    states: frozenset[str] = frozenset()

    @property
    def number(self) -> str:
        """The number in its name."""
        return self.name.rpartition(" ")[2]


@dataclass(frozen=True)
class Receptacle:
    """A piece of furniture or equipment that things lie in or on.

    Attributes:
        name: such as "fridge 1".
        kind: its type, such as "fridge".
        place: the engine's name of the place that one stands at before it, such as "loc 4".
        x: where that place is in the room, in metres.
        z: the same, along the other wall.
        openable: whether it opens and closes.
        is_open: whether it is open now.
        contents: what lies in or on it.
    """

    name: str
    kind: str
    place: str
    x: float
    z: float
    openable: bool = False
    is_open: bool = False
    contents: tuple[Thing, ...] = ()

    @property
    def number(self) -> str:
        """The number in its name."""
        return self.name.rpartition(" ")[2]

    @property
    def shows_contents(self) -> bool:
        """Whether one can see what is in it, standing before it."""
        return self.is_open or not self.openable


@dataclass(frozen=True)
class PlanMark:
    """A receptacle on the plan of the room, as the agent knows it."""

    name: str
    kind: str
    x: float
    z: float
    is_here: bool = False
    visited: bool = False
    seen_open: bool = False

    @property
    def number(self) -> str:
        """The number in its name."""
        return self.name.rpartition(" ")[2]


@dataclass(frozen=True)
class View:
    """What the agent can see, which is all that a picture may show.

    Attributes:
        at_hand: the receptacles that the agent stands before, by name; contents of closed ones are left out. Empty at
            first, in the middle of the room. What the engine keeps in two of them is in both.
        holding: what is in its hand.
        plan: all receptacles of the room, by name.
        agent: (x, z) of where it stands, None in the middle of the room.
        lamps: those at the agent's place that stand on nothing, by name, as floor lamps do.
    """

    at_hand: tuple[Receptacle, ...]
    holding: Thing | None
    plan: tuple[PlanMark, ...]
    agent: tuple[float, float] | None = None
    lamps: tuple[Thing, ...] = ()


@dataclass(frozen=True)
class Household:
    """The whole state, hidden contents included.

    Attributes:
        receptacles: all of them, by name.
        holding: what is in the agent's hand.
        place: where the agent stands, the engine's name.
        lamps: the desk and floor lamps by name, with "on" among the states of those that were switched on, and the
            place that one stands at before each.
    """

    receptacles: tuple[Receptacle, ...]
    holding: Thing | None
    place: str
    lamps: tuple[tuple[Thing, str], ...] = ()
