"""Facts read as a household, and what of it can be seen."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, SLICED, Household, Receptacle, Thing
from gtr_envs.alfworld.state import name_order, places_of, read_household, remember, visible

ROOT = Path(__file__).resolve().parents[2]
PLACES = {"loc 1": (0.5, -1.25), "loc 2": (1.0, 0.0), "loc 3": (0.25, 2.0), "loc 9": (0.0, 0.0)}


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True)
class Fact:
    """As textworld has it, as far as it matters."""

    name: str
    arguments: tuple[Named, ...]


def facts_of(text: str) -> list[Fact]:
    """Facts from lines such as "holds: agent1 , mug 1"; the spaces before the commas stay in the names."""
    facts = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, arguments = line.partition(": ")
        facts.append(Fact(name, tuple(Named(argument) for argument in arguments.split(", "))))
    return facts


KITCHEN = facts_of(
    """
    atlocation: agent1 , loc 9
    receptacletype: fridge 1, fridgetype\x20
    receptacleatlocation: fridge 1, loc 1
    openable: fridge 1
    receptacletype: countertop 1, countertoptype\x20
    receptacleatlocation: countertop 1, loc 2
    receptacletype: cabinet 10, cabinettype\x20
    receptacleatlocation: cabinet 10, loc 2
    openable: cabinet 10
    opened: cabinet 10
    receptacletype: cabinet 9, cabinettype\x20
    receptacleatlocation: cabinet 9, loc 3
    openable: cabinet 9
    receptacletype: shelf 1, shelftype\x20
    objecttype: apple 1, appletype\x20
    pickupable: apple 1
    iscool: apple 1
    inreceptacle: apple 1, fridge 1
    objecttype: potato 1, potatotype\x20
    pickupable: potato 1
    ishot: potato 1
    isclean: potato 1
    issliced: potato 1
    inreceptacle: potato 1, countertop 1
    objecttype: mug 2, mugtype\x20
    pickupable: mug 2
    inreceptacle: mug 2, cabinet 10
    objecttype: mug 11, mugtype\x20
    pickupable: mug 11
    inreceptacle: mug 11, cabinet 10
    objecttype: window 1, windowtype\x20
    inreceptacle: window 1, countertop 1
    objecttype: desklamp 1, desklamptype\x20
    toggleable: desklamp 1
    istoggled: desklamp 1
    inreceptacle: desklamp 1, countertop 1
    objectatlocation: desklamp 1, loc 3
    objecttype: floorlamp 1, floorlamptype\x20
    toggleable: floorlamp 1
    objectatlocation: floorlamp 1, loc 3
    cancontain: fridgetype , appletype\x20
    """
)


def thing(name: str, *states: str) -> Thing:
    return Thing(name, name.split()[0], frozenset(states))


def test_a_household_has_all_that_matters_and_nothing_else() -> None:
    lamp = thing("desklamp 1", ON)
    assert read_household(KITCHEN, PLACES) == Household(
        receptacles=(
            Receptacle("cabinet 9", "cabinet", "loc 3", 0.25, 2.0, openable=True),
            Receptacle("cabinet 10", "cabinet", "loc 2", 1.0, 0.0, True, True, (thing("mug 2"), thing("mug 11"))),
            Receptacle("countertop 1", "countertop", "loc 2", 1.0, 0.0, contents=(lamp, _potato())),
            Receptacle("fridge 1", "fridge", "loc 1", 0.5, -1.25, openable=True, contents=(thing("apple 1", COOL),)),
        ),
        holding=None,
        place="loc 9",
        lamps=((lamp, "loc 2"), (thing("floorlamp 1"), "loc 3")),
    )


def _potato() -> Thing:
    return thing("potato 1", HOT, CLEAN, SLICED)


def test_what_is_held_is_read_with_its_state() -> None:
    without = [fact for fact in KITCHEN if (fact.name, fact.arguments[0].name) != ("inreceptacle", "potato 1")]
    household = read_household([*without, *facts_of("holds: agent1 , potato 1")], PLACES)
    assert household.holding == _potato()
    assert all(_potato() not in receptacle.contents for receptacle in household.receptacles)


def test_a_thing_that_the_engine_has_in_two_receptacles_is_in_both() -> None:
    household = read_household([*KITCHEN, *facts_of("inreceptacle: apple 1, countertop 1")], PLACES)
    assert [r.name for r in household.receptacles if thing("apple 1", COOL) in r.contents] == [
        "countertop 1",
        "fridge 1",
    ]


def test_the_order_of_the_facts_changes_nothing() -> None:
    expected = read_household(KITCHEN, PLACES)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(KITCHEN))
        assert read_household([KITCHEN[index] for index in order], PLACES) == expected


def test_the_seed_of_hashes_changes_nothing() -> None:
    code = (
        "from test_alfworld_state import *\n"
        "household = read_household(set(KITCHEN), PLACES)\n"
        "view = visible(household, *remember(household))\n"
        "names = [(r.name, [(t.name, sorted(t.states)) for t in r.contents]) for r in household.receptacles]\n"
        "print(names, [(lamp.name, place) for lamp, place in household.lamps], view.plan)"
    )
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert "cabinet 9" in outputs.pop()


def test_names_are_sorted_by_their_numbers() -> None:
    names = ["mug 10", "mug 9", "agent", "loc 2"]
    assert sorted(names, key=name_order) == ["agent", "loc 2", "mug 9", "mug 10"]


def test_places_come_from_the_raw_ids() -> None:
    infos = {
        "loc_bar__minus_5_bar_8_bar_2_bar_45": SimpleNamespace(name="loc 3"),
        "loc|2|-1|0|30": SimpleNamespace(name="loc 1 "),
        "mug_bar__plus_00_dot_39_bar__plus_00_dot_67_bar__minus_01_dot_13": SimpleNamespace(name="mug 1"),
    }
    expected = {"loc 3": (-1.25, 2.0), "loc 1": (0.5, -0.25)}
    assert places_of(infos) == expected
    assert places_of({"_entity_infos": infos}) == expected
    assert places_of(SimpleNamespace(entity_infos=infos)) == expected


def test_the_middle_of_the_room_shows_the_plan_alone() -> None:
    household = read_household(KITCHEN, PLACES)
    view = visible(household, *remember(household))
    assert (view.at_hand, view.holding, view.agent) == ((), None, None)
    assert [mark.name for mark in view.plan] == ["cabinet 9", "cabinet 10", "countertop 1", "fridge 1"]
    assert not any(mark.is_here or mark.visited or mark.seen_open for mark in view.plan)


def test_closed_contents_are_hidden_and_open_ones_shown() -> None:
    at_fridge = replace(read_household(KITCHEN, PLACES), place="loc 1")
    view = visible(at_fridge, *remember(at_fridge))
    assert [(r.name, r.contents) for r in view.at_hand] == [("fridge 1", ())]
    assert view.agent == (0.5, -1.25)
    assert "apple" not in repr(view)
    open_fridge = replace(at_fridge.receptacles[-1], is_open=True)
    opened = replace(at_fridge, receptacles=(*at_fridge.receptacles[:-1], open_fridge))
    assert visible(opened, *remember(opened)).at_hand[0].contents == (thing("apple 1", COOL),)


def test_what_was_visited_and_seen_open_stays_on_the_plan() -> None:
    household = replace(read_household(KITCHEN, PLACES), place="loc 2")
    known = remember(household)
    assert known == (frozenset({"cabinet 10", "countertop 1"}), frozenset({"cabinet 10"}))
    away = replace(household, place="loc 1")
    known = remember(away, *known)
    marks = {mark.name: (mark.is_here, mark.visited, mark.seen_open) for mark in visible(away, *known).plan}
    assert marks == {
        "cabinet 9": (False, False, False),
        "cabinet 10": (False, True, True),
        "countertop 1": (False, True, False),
        "fridge 1": (True, True, False),
    }
    closed = replace(household, receptacles=tuple(replace(r, is_open=False) for r in household.receptacles))
    assert remember(closed, *known)[1] == frozenset()


def test_lamps_that_stand_on_nothing_are_seen_from_their_place() -> None:
    household = read_household(KITCHEN, PLACES)
    views = {place: visible(replace(household, place=place), frozenset(), frozenset()) for place in PLACES}
    # The desk lamp stands on the countertop, at loc 2, and is among its contents.
    assert {place: view.lamps for place, view in views.items() if view.lamps} == {"loc 3": (thing("floorlamp 1"),)}
    switched = read_household([*KITCHEN, *facts_of("istoggled: floorlamp 1")], PLACES)
    seen = visible(replace(switched, place="loc 3"), frozenset(), frozenset())
    assert seen.lamps == (thing("floorlamp 1", ON),)
