"""The engine's facts as a `Household`, and what the agent can see of it as a `View`.

A fact is anything with a name and arguments that have names, such as textworld's propositions. Their order is never
relied on: it differs between processes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from gtr_envs.alfworld.records import CLEAN, COOL, HOT, ON, SLICED, Household, PlanMark, Receptacle, Thing, View

STATE_FACTS = {"ishot": HOT, "iscool": COOL, "isclean": CLEAN, "issliced": SLICED, "istoggled": ON}
LAMP_KINDS = ("desklamp", "floorlamp")
METRES_PER_UNIT = 0.25  # the engine's locations are in quarters of a metre
_SINGLE = ("pickupable", "openable", "opened", *STATE_FACTS)
_PAIRS = (
    "atlocation",
    "holds",
    "inreceptacle",
    "objectatlocation",
    "objecttype",
    "receptacleatlocation",
    "receptacletype",
)
_MANGLED = (("_bar_", "|"), ("_minus_", "-"), ("_plus_", "+"), ("_dot_", "."))


def name_order(name: str) -> tuple[str, int]:
    """The key that sorts names by type and then by number, so that "cabinet 10" comes after "cabinet 9"."""
    kind, _, number = name.rpartition(" ")
    return (kind, int(number)) if kind and number.isdecimal() else (name, 0)


def places_of(source: Any) -> dict[str, tuple[float, float]]:
    """Where the places of a game are in the room.

    Args:
        source: the engine's entity infos (raw id to something with a `name`), or a state that has them as
            `_entity_infos` or `entity_infos`.

    Returns:
        x and z in metres, by the name that facts give to the place, such as "loc 4".
    """
    infos = source
    if isinstance(source, Mapping) and "_entity_infos" in source:
        infos = source["_entity_infos"]
    elif not isinstance(source, Mapping):
        infos = getattr(source, "entity_infos", None) or source._entity_infos
    places = {}
    for raw in sorted(infos):
        plain = raw
        for mangled, sign in _MANGLED:
            plain = plain.replace(mangled, sign)
        if match := re.match(r"loc\|([-+]?\d+)\|([-+]?\d+)\|", plain):
            x, z = (int(part) * METRES_PER_UNIT for part in match.groups())
            places[infos[raw].name.strip()] = (x, z)
    return places


def read_household(facts: Iterable[Any], places: Mapping[str, tuple[float, float]]) -> Household:
    """The whole state, hidden contents included.

    Only receptacles that one can stand before are in it, and only things that can be carried, and lamps: the engine
    also knows windows, mirrors and the like, which nothing can be done with.

    Args:
        facts: those of the engine's state, in any order.
        places: what `places_of` gives. The places that are missing count as the origin.
    """
    single, pairs = _group(facts)
    kinds = {name: kind.removesuffix("type") for name, kind in pairs["objecttype"]}
    things = {
        name: Thing(name, kind, frozenset(state for fact, state in STATE_FACTS.items() if name in single[fact]))
        for name, kind in kinds.items()
        if name in single["pickupable"] or kind in LAMP_KINDS
    }
    place_of_receptacle = dict(sorted(pairs["receptacleatlocation"]))
    contents = defaultdict(list)
    for name, receptacle in pairs["inreceptacle"]:
        if name in things:
            contents[receptacle].append(things[name])
    receptacles = []
    for name, kind in sorted(pairs["receptacletype"], key=lambda pair: name_order(pair[0])):
        if name not in place_of_receptacle:
            continue
        place = place_of_receptacle[name]
        x, z = places.get(place, (0.0, 0.0))
        within = tuple(sorted(contents[name], key=lambda thing: name_order(thing.name)))
        openable, is_open = name in single["openable"], name in single["opened"]
        receptacles.append(Receptacle(name, kind.removesuffix("type"), place, x, z, openable, is_open, within))
    held = sorted(thing for _, thing in pairs["holds"])
    return Household(
        receptacles=tuple(receptacles),
        holding=things[held[0]] if held else None,
        place=min((place for _, place in pairs["atlocation"]), default=""),
        lamps=_lamps(things, receptacles, dict(sorted(pairs["objectatlocation"]))),
    )


def _group(facts: Iterable[Any]) -> tuple[dict[str, set[str]], dict[str, set[tuple[str, str]]]]:
    """The names that each fact of one argument holds for, and the pairs of names for those of two."""
    single: dict[str, set[str]] = {name: set() for name in _SINGLE}
    pairs: dict[str, set[tuple[str, str]]] = {name: set() for name in _PAIRS}
    for fact in facts:
        if fact.name in pairs:
            first, second = fact.arguments
            pairs[fact.name].add((first.name.strip(), second.name.strip()))
        elif fact.name in single:
            single[fact.name].add(fact.arguments[0].name.strip())
    return single, pairs


def _lamps(
    things: Mapping[str, Thing], receptacles: Iterable[Receptacle], standing: Mapping[str, str]
) -> tuple[tuple[Thing, str], ...]:
    """The lamps with the places before them: of what they stand on, or else (floor lamps) their own."""
    where = {(thing.name, receptacle.place) for receptacle in receptacles for thing in receptacle.contents}
    lamps = [(things[name], place) for name, place in where if things[name].kind in LAMP_KINDS]
    on_something = {lamp.name for lamp, _ in lamps}
    lamps += [
        (thing, standing[name])
        for name, thing in things.items()
        if thing.kind in LAMP_KINDS and name in standing and name not in on_something
    ]
    return tuple(sorted(lamps, key=lambda lamp: (name_order(lamp[0].name), name_order(lamp[1]))))


def at_hand(household: Household) -> tuple[Receptacle, ...]:
    """The receptacles that the agent stands before, with all that is in them."""
    return tuple(receptacle for receptacle in household.receptacles if receptacle.place == household.place)


def remember(
    household: Household, visited: frozenset[str] = frozenset(), seen_open: frozenset[str] = frozenset()
) -> tuple[frozenset[str], frozenset[str]]:
    """What the agent has been to and seen open, after it saw the present state.

    Args:
        household: the state.
        visited: the names of the receptacles that it had stood before until now.
        seen_open: those that it had seen open, when it last saw them.

    Returns:
        Both, brought up to date.
    """
    here = at_hand(household)
    is_open = frozenset(receptacle.name for receptacle in here if receptacle.is_open)
    names = frozenset(receptacle.name for receptacle in here)
    return visited | names, (seen_open - names) | is_open


def visible(household: Household, visited: frozenset[str], seen_open: frozenset[str]) -> View:
    """What the agent can see, and what it remembers of the room.

    Args:
        household: the whole state.
        visited: the names of the receptacles that it has stood before.
        seen_open: those that it saw open, when it last saw them. `remember` keeps both.
    """
    here = at_hand(household)
    names = {receptacle.name for receptacle in here}
    plan = tuple(
        PlanMark(r.name, r.kind, r.x, r.z, r.name in names, r.name in visited, r.name in seen_open)
        for r in household.receptacles
    )
    shown = tuple(r if r.shows_contents else replace(r, contents=()) for r in here)
    agent = (here[0].x, here[0].z) if here else None
    return View(shown, household.holding, plan, agent, _standing_lamps(household))


def _standing_lamps(household: Household) -> tuple[Thing, ...]:
    """The lamps at the agent's place that are in or on no receptacle."""
    lamps = tuple(lamp for lamp, place in household.lamps if place == household.place)
    if not lamps:
        return ()
    within = {thing.name for receptacle in household.receptacles for thing in receptacle.contents}
    return tuple(lamp for lamp in lamps if lamp.name not in within)
