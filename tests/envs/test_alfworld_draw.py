"""The household picture: every kind has its own drawing, and nothing shows that the agent cannot see."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from gtr_envs.alfworld.draw import PLAN, draw_view
from gtr_envs.alfworld.plan import RING, SMALL_MARK, plan_spots
from gtr_envs.alfworld.plan_colors import plan_color
from gtr_envs.alfworld.receptacle_shapes import RECEPTACLES
from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, SLICED, PlanMark, Receptacle, Thing, View
from gtr_envs.alfworld.thing_shapes import THINGS
from gtr_envs.errors import SettingError

PICKUPS = (
    "alarmclock apple baseballbat basketball book bowl box bread butterknife candle cd cellphone cloth creditcard "
    "cup dishsponge egg fork glassbottle handtowel kettle keychain knife ladle laptop lettuce mug newspaper pan "
    "papertowelroll pen pencil peppershaker pillow plate plunger pot potato remotecontrol saltshaker scrubbrush "
    "soapbar soapbottle spatula spoon spraybottle statue teddybear tennisracket tissuebox toiletpaper "
    "toiletpaperroll tomato towel vase watch wateringcan winebottle desklamp floorlamp"
)
FURNITURE_NAMES = (
    "armchair bathtubbasin bed cabinet cart coffeemachine coffeetable countertop desk diningtable drawer dresser "
    "fridge garbagecan handtowelholder laundryhamper microwave ottoman safe shelf sidetable sinkbasin sofa "
    "stoveburner toaster toilet toiletpaperhanger towelholder tvstand"
)
FURNITURE = FURNITURE_NAMES.split(" ")
OPENABLE = ("cabinet", "drawer", "fridge", "laundryhamper", "microwave", "safe")
# What lies about together and looks alike: fruit, bottles, cutlery, paper, textiles, furniture.
EASILY_CONFUSED = [
    ("apple", "tomato"),
    ("mug", "cup"),
    ("knife", "butterknife"),
    ("fork", "spoon"),
    ("pen", "pencil"),
    ("saltshaker", "peppershaker"),
    ("toiletpaper", "toiletpaperroll"),
    ("toiletpaper", "papertowelroll"),
    ("soapbottle", "spraybottle"),
    ("glassbottle", "winebottle"),
    ("towel", "handtowel"),
    ("towel", "cloth"),
    ("pan", "pot"),
    ("egg", "potato"),
    ("cellphone", "remotecontrol"),
    ("book", "newspaper"),
    ("bowl", "plate"),
]


def things(count: int, kind: str = "mug") -> tuple[Thing, ...]:
    return tuple(Thing(f"{kind} {number}", kind) for number in range(1, count + 1))


def receptacle(kind: str, contents: tuple[Thing, ...] = (), *, is_open: bool = True, number: int = 1) -> Receptacle:
    return Receptacle(f"{kind} {number}", kind, "loc 1", 1.0, 1.0, kind in OPENABLE, is_open, contents)


def view(*at_hand: Receptacle, holding: Thing | None = None) -> View:
    marks = tuple(PlanMark(f"{kind} 1", kind, n % 6 * 0.5, n // 6 * 0.75) for n, kind in enumerate(FURNITURE))
    return View(at_hand, holding, marks, (1.0, 0.75) if at_hand else None)


def changed(one: np.ndarray, other: np.ndarray) -> int:
    """How many pixels clearly differ."""
    return int((np.abs(one.astype(int) - other).max(axis=2) > 48).sum())


def test_every_kind_is_in_the_tables() -> None:
    assert set(PICKUPS.split(" ")) <= set(THINGS)
    assert set(FURNITURE) == set(RECEPTACLES)
    assert {kind for kind, look in RECEPTACLES.items() if look.closed} == set(OPENABLE)


@pytest.mark.parametrize("size", [112, 300])
def test_every_thing_has_its_own_drawing(size: int) -> None:
    moments = [view(receptacle("sidetable", things(1, kind))) for kind in [*THINGS, "gizmo"]]
    middle = slice(size // 3, 2 * size // 3)
    pictures = [draw_view(moment, size, False)[: size // 2, middle] for moment in moments]
    for one, other in combinations(pictures, 2):
        assert changed(one, other) >= (40 if size == 112 else 250)


@pytest.mark.parametrize("pair", EASILY_CONFUSED, ids="-".join)
def test_things_that_are_easily_confused_differ_in_small_pictures(pair: tuple[str, str]) -> None:
    one, other = (draw_view(view(receptacle("diningtable", things(3, kind))), 112, False) for kind in pair)
    assert changed(one, other) >= 150


def test_every_receptacle_has_its_own_drawing_open_and_closed() -> None:
    looks = [receptacle(kind) for kind in [*FURNITURE, "gizmo"]]
    looks += [receptacle(kind, is_open=False) for kind in OPENABLE]
    for one, other in combinations([draw_view(view(look), 112, False) for look in looks], 2):
        assert changed(one, other) >= 200


@pytest.mark.parametrize("kind", [*FURNITURE, "gizmo"])
def test_closed_receptacles_look_the_same_whatever_is_inside(kind: str) -> None:
    shut = replace(receptacle(kind, is_open=False), openable=True)
    full = replace(shut, contents=(*things(5), Thing("desklamp 1", "desklamp", frozenset({ON}))))
    for labels in (True, False):
        empty_picture = draw_view(view(shut), 128, labels)
        assert np.array_equal(empty_picture, draw_view(view(full), 128, labels))
        assert changed(empty_picture, draw_view(view(replace(shut, is_open=True)), 128, labels)) > 200


@pytest.mark.parametrize("state", [HOT, COOL, CLEAN, SLICED, ON])
@pytest.mark.parametrize("kind", ["apple", "mug", "lettuce", "desklamp"])
def test_states_are_visible(kind: str, state: str) -> None:
    plain, marked = Thing(f"{kind} 1", kind), Thing(f"{kind} 1", kind, frozenset({state}))
    assert changed(*(draw_view(view(holding=thing), 112, False) for thing in (plain, marked))) > 20
    lying = [draw_view(view(receptacle("countertop", (thing,))), 112, False) for thing in (plain, marked)]
    assert changed(*lying) > 12


def test_every_set_of_states_differs() -> None:
    sets = [frozenset(), {HOT}, {COOL}, {CLEAN}, {SLICED}, {HOT, SLICED}, {COOL, SLICED}, {CLEAN, HOT}, {CLEAN, SLICED}]
    pictures = [draw_view(view(holding=Thing("potato 1", "potato", frozenset(one))), 112, False) for one in sets]
    for one, other in combinations(pictures, 2):
        assert changed(one, other) > 20


def test_numbers_are_written_with_labels_only() -> None:
    moments = []
    for number in (1, 2):
        mug = Thing(f"mug {number}", "mug")
        moments.append([view(receptacle("desk", (mug,))), view(receptacle("desk", number=number)), view(holding=mug)])
    for one, other in zip(*moments, strict=True):
        assert np.array_equal(draw_view(one, labels=False), draw_view(other, labels=False))
        assert not np.array_equal(draw_view(one), draw_view(other))


@pytest.mark.parametrize("kind", [*FURNITURE, "gizmo"])
@pytest.mark.parametrize("beside", [0, 3])
def test_each_of_26_things_shows(kind: str, beside: int) -> None:
    kinds = list(THINGS)[:26]
    contents = tuple(Thing(f"{one} {number}", one) for number, one in enumerate(kinds))
    others = [receptacle("drawer", number=number + 2) for number in range(beside)]
    whole = draw_view(view(receptacle(kind, contents), *others), labels=False)
    for index in (0, 12, 25):
        other = (*contents[:index], Thing("watch 1", "watch"), *contents[index + 1 :])
        assert not np.array_equal(whole, draw_view(view(receptacle(kind, other), *others), labels=False))


@pytest.mark.parametrize("size", [112, 300])
@pytest.mark.parametrize("beside", [0, 1, 4])
def test_lamps_that_stand_on_nothing_are_shown_beside_what_is_at_hand(beside: int, size: int) -> None:
    start = view(*(receptacle("drawer", number=number + 1) for number in range(beside)))
    lamp, other = Thing("floorlamp 1", "floorlamp"), Thing("floorlamp 2", "floorlamp")
    dark, lit, both = (
        draw_view(replace(start, lamps=lamps), size, False)
        for lamps in ((lamp,), (replace(lamp, states=frozenset({ON})),), (lamp, other))
    )
    assert changed(draw_view(start, size, False), dark) >= 40
    assert changed(dark, lit) > 12
    assert changed(dark, both) >= 40
    # The hand and what is written beside it stay as they were.
    panel = slice(size * 23 // 32, None), slice(0, size // 2)
    assert np.array_equal(draw_view(start, size, False)[panel], dark[panel])
    second = replace(start, lamps=(other,))
    assert np.array_equal(draw_view(second, size, False), dark)
    assert not np.array_equal(draw_view(second, size), draw_view(replace(start, lamps=(lamp,)), size))


def test_what_is_in_two_receptacles_is_drawn_in_the_first() -> None:
    mug, apple = Thing("mug 1", "mug"), Thing("apple 1", "apple")
    machine, counter = receptacle("coffeemachine", (mug,)), receptacle("countertop", (apple, mug))
    without = replace(counter, contents=(apple,))
    assert np.array_equal(draw_view(view(machine, counter)), draw_view(view(machine, without)))
    # One sees it where the first is closed, and what is alike but is another thing.
    shut = replace(machine, openable=True, is_open=False)
    assert not np.array_equal(draw_view(view(shut, counter)), draw_view(view(shut, without)))
    two = replace(counter, contents=(apple, Thing("mug 2", "mug")))
    assert not np.array_equal(draw_view(view(machine, two)), draw_view(view(machine, without)))


@pytest.mark.parametrize("size", [64, 112, 224, 300, 501, 1024])
def test_sizes(size: int) -> None:
    moment = view(receptacle("fridge", things(4)), holding=Thing("egg 1", "egg", frozenset({HOT})))
    for moment_or_start in (moment, view()):
        picture = draw_view(moment_or_start, size)
        assert picture.shape == (size, size, 3)
        assert picture.dtype == np.uint8


@pytest.mark.parametrize("size", [0, 15, 5000, 112.0, True, "300"])
def test_impossible_sizes_are_refused(size: object) -> None:
    with pytest.raises(SettingError, match="size="):
        draw_view(view(), size)  # type: ignore[arg-type]


def test_pictures_are_new_and_equal() -> None:
    moment = view(receptacle("safe", things(2)), holding=Thing("cd 1", "cd", frozenset({CLEAN})))
    first = draw_view(moment)
    before = first.copy()
    first[:] = 0
    assert np.array_equal(draw_view(moment), before)


def test_pictures_do_not_depend_on_the_process() -> None:
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['digest']())"
    for seed in ("1", "77"):
        run = subprocess.run(
            [sys.executable, "-c", code, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == digest()


def digest() -> str:
    """Of a picture with many states, which sets hold in any order."""
    thing = Thing("apple 3", "apple", frozenset({HOT, CLEAN, SLICED, COOL, ON}))
    moment = view(receptacle("fridge", (thing, *things(3))), receptacle("cabinet", things(2, "plate")), holding=thing)
    return hashlib.sha256(draw_view(moment).tobytes()).hexdigest()


def test_the_plan_tells_what_is_known() -> None:
    start = view(receptacle("bed"))
    mark = start.plan[7]
    marks = [
        mark,
        replace(mark, visited=True),
        replace(mark, visited=True, seen_open=True),
        replace(mark, is_here=True),
    ]
    pictures = []
    for known in marks:
        plan = (*start.plan[:7], known, *start.plan[8:])
        pictures += [draw_view(replace(start, plan=plan)), draw_view(replace(start, at_hand=(), plan=plan))]
    for one, other in combinations(pictures[::2], 2):
        assert changed(one, other) >= 6
    for one, other in combinations(pictures[1::2], 2):
        assert changed(one, other) >= 6


# The kinds of receptacles that real and generated rooms have, by the kind of room.
ROOMS = {
    "kitchen": "cabinet coffeemachine countertop diningtable drawer fridge garbagecan microwave safe shelf sidetable "
    "sinkbasin stoveburner toaster",
    "living room": "armchair cabinet coffeetable desk diningtable drawer dresser garbagecan ottoman safe shelf "
    "sidetable sofa tvstand",
    "bedroom": "armchair bed cabinet coffeetable countertop desk diningtable drawer dresser garbagecan laundryhamper "
    "safe shelf sidetable",
    "bathroom": "bathtubbasin cabinet cart countertop drawer dresser garbagecan handtowelholder shelf sidetable "
    "sinkbasin toilet toiletpaperhanger towelholder",
}


@pytest.mark.parametrize("room", ROOMS)
def test_kinds_of_one_room_have_colours_of_their_own_on_the_plan(room: str) -> None:
    colors = {kind: np.array(plan_color(kind)) for kind in [*ROOMS[room].split(" "), "gizmo"]}
    for one, other in combinations(colors, 2):
        assert np.linalg.norm(colors[one] - colors[other]) >= 60, (one, other)
    for red in ((230, 30, 30), (40, 170, 80)):  # where the agent stands, what it opened
        assert all(np.linalg.norm(color - red) >= 60 for color in colors.values())


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("visited", [True, False])
def test_a_cabinet_and_a_drawer_differ_on_the_small_plan(visited: bool, labels: bool) -> None:
    marks = [PlanMark(f"{kind} 1", kind, 1.0, 1.0, visited=visited) for kind in ("cabinet", "drawer", "fridge")]
    here = receptacle("bed")
    pictures = [draw_view(replace(view(here), plan=(mark,)), 300, labels) for mark in marks]
    for one, other in combinations(pictures, 2):
        assert changed(one, other) >= 30


@pytest.mark.parametrize("size", [112, 300])
def test_the_ring_is_around_the_mark_of_what_is_at_hand(size: int) -> None:
    # So close to each other that most marks stand beside their true places.
    crowd = [PlanMark(f"cabinet {number}", "cabinet", number % 5 * 0.1, number // 5 * 0.1) for number in range(40)]
    spots = plan_spots(tuple(crowd), PLAN, pictured=False)
    for index in (0, 17, 39):
        marks = (*crowd[:index], replace(crowd[index], is_here=True), *crowd[index + 1 :])
        with_ring, without = (
            draw_view(replace(view(receptacle("bed")), plan=plan), size, False) for plan in (marks, tuple(crowd))
        )
        rows, columns = np.nonzero((with_ring != without).any(axis=2))
        middle = np.array([columns.min() + columns.max() + 1, rows.min() + rows.max() + 1]) / 2 * 300 / size
        assert np.abs(middle - (np.array(spots[index]) + SMALL_MARK / 2)).max() < 2
        assert (columns.max() - columns.min()) * 300 / size <= RING + 3


def test_a_room_of_any_shape_has_a_plan() -> None:
    crowded = tuple(PlanMark(f"cabinet {number}", "cabinet", 1.0, 1.0) for number in range(150))
    for plan in ((), crowded[:1], crowded):
        for agent in (None, (1.0, 1.0), (-7.5, 40.0)):
            draw_view(View((), None, plan, agent))


def test_odd_names_and_many_receptacles_are_no_error() -> None:
    odd = Receptacle("", "", "", 0.0, 0.0, contents=(Thing("", ""), Thing("ufo Ωx 12345678", "ufo")))
    crowd = [receptacle(kind, things(3)) for kind in FURNITURE]
    for size in (16, 300):
        draw_view(view(odd, holding=Thing("", "", frozenset({"haunted"}))), size)
        draw_view(view(*crowd), size)
        draw_view(replace(view(*crowd), lamps=things(40, "floorlamp")), size)
