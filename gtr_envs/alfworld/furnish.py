"""What lies about in a generated room: which things a kind of room has, how many of them, and where.

How many there are of a thing, and where it tends to lie, was counted in the real games. What may lie where at all is
alfworld's own table of placement rules.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from gtr_envs.alfworld.installed import alfworld_tables
from gtr_envs.alfworld.rooms import Fixture, Room, object_id

# The thing, in how many of a hundred rooms it occurs, and how many of it there are at most: from one to that many, each
# number as often as the others.
_THINGS = {
    "Kitchen": """
        Apple 100 3, Book 12 2, Bowl 100 3, Bread 100 2, ButterKnife 97 3, CellPhone 10 3, CreditCard 8 3, Cup 100 3,
        DishSponge 100 3, Egg 100 3, Fork 100 3, Glassbottle 28 3, Kettle 44 2, Knife 100 3, Ladle 39 2, Lettuce 100 2,
        Mug 100 3, Pan 100 2, PaperTowel 10 2, Pen 10 3, Pencil 8 3, PepperShaker 100 3, Plate 100 3, Pot 100 2,
        Potato 100 3, SaltShaker 100 3, SoapBottle 100 3, Spatula 100 3, Spoon 100 3, SprayBottle 8 3, Statue 15 2,
        Tomato 100 3, Vase 15 3, WineBottle 39 3""",
    "LivingRoom": """
        Book 47 2, Bowl 18 2, Box 100 2, Candle 6 3, CellPhone 35 3, CreditCard 100 3, KeyChain 100 3, Laptop 100 3,
        Newspaper 59 3, Pen 18 3, Pencil 24 3, Pillow 100 2, Plate 29 3, RemoteControl 100 3, Statue 94 3,
        TissueBox 35 3, Vase 65 3, Watch 59 3, WateringCan 47 1, DeskLamp 50 1""",
    "Bedroom": """
        AlarmClock 100 2, BaseballBat 44 1, BasketBall 26 1, Book 100 3, Bowl 52 2, Box 48 1, CD 100 3, CellPhone 100 3,
        Cloth 4 1, CreditCard 100 3, KeyChain 100 3, Laptop 100 2, Mug 67 3, Pen 100 3, Pencil 100 3, Pillow 100 2,
        RemoteControl 7 3, Statue 11 2, TennisRacket 41 1, TissueBox 15 3, Vase 7 3, Watch 4 2, DeskLamp 90 1""",
    "Bathroom": """
        Candle 100 3, Cloth 100 3, DishSponge 16 3, HandTowel 100 2, Plunger 100 1, SoapBar 100 3, SoapBottle 100 3,
        SprayBottle 100 3, TissueBox 23 3, ToiletPaper 100 3, ToiletPaperRoll 10 1, Towel 100 1""",
}
# How much more often something lies here than in a receptacle that is not named.
_LIKELY = {
    "CounterTop": 12, "DiningTable": 12, "SideTable": 6, "CoffeeTable": 8, "Desk": 10, "Dresser": 8, "Bed": 8,
    "Sofa": 6, "ArmChair": 3, "Ottoman": 3, "Fridge": 8, "SinkBasin": 4, "Microwave": 3, "GarbageCan": 3,
    "StoveBurner": 10, "CoffeeMachine": 6, "Toilet": 5, "Shelf": 2, "BathtubBasin": 4, "Cart": 4, "TowelHolder": 6,
    "HandTowelHolder": 20, "ToiletPaperHanger": 4, "Safe": 2, "TVStand": 3,
}  # fmt: skip
# These hold one thing.
SMALL = frozenset({"StoveBurner", "CoffeeMachine", "Toaster", "TowelHolder", "HandTowelHolder", "ToiletPaperHanger"})
LAMP = "DeskLamp"
# alfworld has no rule for a lamp, since nobody carries it.
LAMP_PLACES = frozenset({"Desk", "SideTable", "Dresser", "Shelf", "CoffeeTable", "DiningTable", "TVStand"})


@dataclass(frozen=True)
class PlacedThing:
    """A thing in or on a receptacle.

    Attributes:
        object_id: the simulator's id, such as "Mug|+01.77|+00.93|+01.46".
        kind: its type, such as "Mug".
        fixture: where it is.
    """

    object_id: str
    kind: str
    fixture: Fixture


@lru_cache(maxsize=1)
def may_contain() -> dict[str, frozenset[str]]:
    """What may lie in or on each type of receptacle, by alfworld's rules."""
    return {kind: frozenset(things) for kind, things in alfworld_tables("constants").VAL_RECEPTACLE_OBJECTS.items()}


@lru_cache(maxsize=1)
def may_undergo() -> dict[str, frozenset[str]]:
    """The types of things that are "Heatable", "Coolable", "Cleanable", "Sliceable" or "Toggleable"."""
    return {action: frozenset(things) for action, things in alfworld_tables("constants").VAL_ACTION_OBJECTS.items()}


@lru_cache(maxsize=len(_THINGS))
def things_of(room_kind: str) -> dict[str, tuple[int, int]]:
    """The things of a kind of room: in how many of a hundred they occur, and how many there are at most."""
    rows = [row.split() for row in _THINGS[room_kind].split(",")]
    return {kind: (int(share), int(most)) for kind, share, most in rows}


def fits(thing: str, fixture_kind: str) -> bool:
    """Whether a thing of this type may lie in or on a receptacle of that type."""
    if thing == LAMP:
        return fixture_kind in LAMP_PLACES
    return thing in may_contain().get(fixture_kind, ())


def place_things(
    rng: np.random.Generator, room: Room, target: str, fewest: int, forbidden: str, lamp: bool
) -> tuple[PlacedThing, ...]:
    """Lay things about in a room.

    Args:
        rng: where chance comes from.
        room: an empty room.
        target: the type of thing that the task is about.
        fewest: how many of it there must be.
        forbidden: the type of receptacle that holds none of it at first; "" for none.
        lamp: whether there must be a lamp.

    Returns:
        The things, by id. Fewer than asked for, if there is no place for them.
    """
    placed: list[PlacedThing] = []
    used: Counter[str] = Counter()
    taken: set[str] = set()
    wanted = things_of(room.kind)
    # The target first, while the receptacles that hold only one thing are free.
    for kind in sorted(wanted, key=lambda kind: kind != target):
        share, most = wanted[kind]
        needed = fewest if kind == target else int(lamp and kind == LAMP)
        present = int(rng.integers(100)) < share
        count = max(int(rng.integers(1, most + 1)) if present else 0, needed)
        for _ in range(count):
            fixture = _choose(rng, room, kind, used, forbidden if kind == target else "")
            if fixture is None:
                break
            used[fixture.object_id] += 1
            placed.append(PlacedThing(_free_id(rng, kind, fixture, taken), kind, fixture))
    return tuple(sorted(placed, key=lambda thing: thing.object_id))


def _choose(rng: np.random.Generator, room: Room, kind: str, used: Counter[str], forbidden: str) -> Fixture | None:
    """A receptacle with room for one more thing of that type, the likelier ones more often."""
    possible = [
        fixture
        for fixture in room.fixtures
        if fits(kind, fixture.kind)
        and fixture.kind != forbidden
        and not (fixture.kind in SMALL and used[fixture.object_id])
    ]
    if not possible:
        return None
    # Whole numbers, so that no machine rounds otherwise than another.
    left = int(rng.integers(sum(_LIKELY.get(fixture.kind, 1) for fixture in possible)))
    for fixture in possible:
        left -= _LIKELY.get(fixture.kind, 1)
        if left < 0:
            break
    return fixture


def _free_id(rng: np.random.Generator, kind: str, fixture: Fixture, taken: set[str]) -> str:
    """An id near the receptacle's position that nothing else has."""
    x, y, z = fixture.position
    reach = 20
    while True:
        shift = rng.integers(-reach, reach + 1, size=2)
        name = object_id(kind, (x + int(shift[0]), y + 5, z + int(shift[1])))
        if name not in taken:
            taken.add(name)
            return name
        reach += 1
