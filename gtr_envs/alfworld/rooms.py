"""Rooms for generated games: what stands where, from the floor plans that alfworld brings along.

A floor plan lists the receptacles with their positions and where one stands before each, but lacks some kinds that the
real games have: stove burners, the coffee machine, the toaster, most garbage cans, and the holders of a bathroom. These
are added here, always at the same place of the same room, where there is a free place to stand.

All lengths are whole centimetres, so that the same room comes out on every machine.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gtr_envs.alfworld.games import check_split
from gtr_envs.alfworld.installed import alfworld_file

ROOM_KINDS = ("Kitchen", "LivingRoom", "Bedroom", "Bathroom")
# The floor plans on which ALFRED's own unseen splits, for validation and for testing, were recorded. Holding out these
# ones means that who trains on generated rooms has not seen the rooms of the real valid_unseen games either.
UNSEEN_SCENES = (9, 10, 29, 215, 219, 226, 308, 315, 325, 404, 424, 425)
OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})

_FIRST_SCENES = {"Kitchen": 1, "LivingRoom": 201, "Bedroom": 301, "Bathroom": 401}
_SCENES_EACH = 30
_SIZE = re.compile(r"[+-]?\d+\.\d+")
# What stands on a counter, and how many of each one place to stand serves.
_ON_COUNTERS = (("StoveBurner", 2), ("StoveBurner", 2), ("CoffeeMachine", 1), ("Toaster", 1))
# What stands on the floor or hangs at a wall, with its height above the floor.
_AT_WALLS: dict[str, tuple[tuple[str, int], ...]] = {
    "Kitchen": (("GarbageCan", 0),),
    "LivingRoom": (("GarbageCan", 0),),
    "Bedroom": (("GarbageCan", 0),),
    "Bathroom": (
        ("SinkBasin", 80),
        ("Toilet", 0),
        ("GarbageCan", 0),
        ("TowelHolder", 150),
        ("HandTowelHolder", 150),
        ("ToiletPaperHanger", 80),
    ),
}
_AHEAD = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}
_GRID = 25
_REACH = 50

Point = tuple[int, int]


@dataclass(frozen=True)
class Fixture:
    """A receptacle of a room.

    Attributes:
        object_id: the simulator's id, such as "Fridge|-02.10|+00.00|+01.09".
        kind: its type, such as "Fridge" or "SinkBasin".
        position: (x, y, z) in centimetres, y being the height.
        stand: (x, z) of where one stands before it, in centimetres.
        rotation: which way one looks from there, in degrees.
        horizon: how far down one looks, in degrees.
    """

    object_id: str
    kind: str
    position: tuple[int, int, int]
    stand: Point
    rotation: int
    horizon: int

    @property
    def location(self) -> str:
        """The place that one stands at, in the notation of the data set."""
        return location_id(self.stand, self.rotation, self.horizon)


@dataclass(frozen=True)
class Room:
    """An empty room.

    Attributes:
        scene: the number of its floor plan.
        kind: one of `ROOM_KINDS`.
        fixtures: its receptacles, by id.
        points: (x, z) of all places where one can stand, sorted.
    """

    scene: int
    kind: str
    fixtures: tuple[Fixture, ...]
    points: tuple[Point, ...]

    @property
    def fixture_kinds(self) -> frozenset[str]:
        """The types of its receptacles."""
        return frozenset(fixture.kind for fixture in self.fixtures)


def scenes_of(kind: str, split: str) -> tuple[int, ...]:
    """The floor plans of a kind of room that a split may use.

    Args:
        kind: one of `ROOM_KINDS`.
        split: "train" and "valid_seen" share theirs; "valid_unseen" has its own, `UNSEEN_SCENES`.

    Returns:
        Their numbers, ascending.

    Raises:
        SettingError: if there is no such split.
    """
    unseen = check_split(split) == "valid_unseen"
    first = _FIRST_SCENES[kind]
    return tuple(scene for scene in range(first, first + _SCENES_EACH) if (scene in UNSEEN_SCENES) == unseen)


def object_id(kind: str, position: tuple[int, int, int]) -> str:
    """The simulator's id of something at a position in centimetres, such as "Mug|+01.77|+00.93|-01.46"."""
    numbers = [f"{'-' if size < 0 else '+'}{abs(size) // 100:02d}.{abs(size) % 100:02d}" for size in position]
    text = "|".join(numbers)
    return f"Sink|{text}|SinkBasin" if kind == "SinkBasin" else f"{kind}|{text}"


def location_id(stand: Point, rotation: int, horizon: int) -> str:
    """The data set's name of a place: quarters of a metre, quarters of a turn, and the angle that one looks down."""
    return f"loc|{stand[0] // _GRID}|{stand[1] // _GRID}|{rotation // 90}|{horizon}"


@lru_cache(maxsize=128)
def load_room(scene: int) -> Room:
    """The room of a floor plan, with what the plan lacks added.

    Raises:
        GameError: if alfworld has no such floor plan.
        MissingExtraError: if alfworld is not installed.
    """
    text = alfworld_file("gen", "layouts", f"FloorPlan{scene}-openable.json").read_text(encoding="utf-8")
    plan: dict[str, Any] = json.loads(text)
    layout = np.load(alfworld_file("gen", "layouts", f"FloorPlan{scene}-layout.npy"), allow_pickle=False)
    points = sorted({(round(x * 100), round(z * 100)) for x, z in layout.tolist()})
    kind = ROOM_KINDS[0 if scene < 100 else scene // 100 - 1]
    fixtures = [_from_plan(name, pose) for name, pose in sorted(plan.items())]
    if kind == "Kitchen":
        _add_on_counters(fixtures, points)
    for missing, height in _AT_WALLS[kind]:
        if missing not in {fixture.kind for fixture in fixtures}:
            _add_at_wall(fixtures, points, missing, height)
    by_id = {fixture.object_id: fixture for fixture in fixtures}
    return Room(scene, kind, tuple(by_id[name] for name in sorted(by_id)), tuple(points))


def _from_plan(name: str, pose: list[float]) -> Fixture:
    """A receptacle of a floor plan: its id, and [x, z, rotation, horizon] of where one stands."""
    x, y, z = (round(float(size) * 100) for size in _SIZE.findall(name))
    kind = name.split("|")[0]
    # A basin bears the name of what it belongs to, "Sink|...|SinkBasin". One bathtub's basin is misnamed a sink's.
    if kind in ("Sink", "Bathtub"):
        kind += "Basin"
        name = name.rpartition("|")[0] + "|" + kind
    return Fixture(name, kind, (x, y, z), (round(pose[0] * 100), round(pose[1] * 100)), int(pose[2]), int(pose[3]))


def _ahead(stand: Point, rotation: int, distance: int) -> Point:
    dx, dz = _AHEAD[rotation]
    return stand[0] + dx * distance, stand[1] + dz * distance


def _distance(one: Point, other: Point) -> int:
    """The square of how far apart they are."""
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2


def _add_on_counters(fixtures: list[Fixture], points: list[Point]) -> None:
    """Stove, coffee machine and toaster, each at the nearest free place by one of the counters in turn."""
    counters = [fixture for fixture in fixtures if fixture.kind == "CounterTop"]
    for turn, (kind, number) in enumerate(_ON_COUNTERS):
        # The two halves of the stove stand at one counter, the others at the next ones.
        counter = counters[max(turn - 1, 0) % len(counters)]
        taken = {fixture.stand for fixture in fixtures}
        free = [point for point in points if point not in taken] or points
        stand = min(free, key=lambda point: (_distance(point, counter.stand), point))
        dx, dz = _AHEAD[counter.rotation]
        depth = dx * (counter.position[0] - stand[0]) + dz * (counter.position[2] - stand[1])
        for index in range(number):
            x, z = _ahead(stand, counter.rotation, min(max(depth, _REACH), 2 * _REACH) + index * 28)
            position = (x, counter.position[1] + 2, z)
            fixtures.append(Fixture(object_id(kind, position), kind, position, stand, counter.rotation, 30))


def _add_at_wall(fixtures: list[Fixture], points: list[Point], kind: str, height: int) -> None:
    """One more receptacle where the floor ends, as far as possible from all others."""
    reachable = set(points)
    stands = {fixture.stand for fixture in fixtures}
    edges = [
        (point, rotation)
        for point in points
        for rotation in _AHEAD
        if _ahead(point, rotation, _GRID) not in reachable and point not in stands
    ]
    stand, rotation = max(edges, key=lambda edge: (min(_distance(edge[0], stand) for stand in stands), edge))
    x, z = _ahead(stand, rotation, _REACH)
    position = (x, height, z)
    fixtures.append(Fixture(object_id(kind, position), kind, position, stand, rotation, 30))
