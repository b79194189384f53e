"""Games as texts, in the format of the ALFWorld data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from gtr_envs.alfworld.furnish import LAMP, PlacedThing, may_contain, may_undergo
from gtr_envs.alfworld.installed import alfworld_file, alfworld_tables
from gtr_envs.alfworld.names import mangled, names_of
from gtr_envs.alfworld.rooms import OPENABLE, Room, location_id

AGENT = "agent1"
_ABILITIES = (("cleanable", "Cleanable"), ("heatable", "Heatable"), ("coolable", "Coolable"))


def names_in_texts(object_ids: Iterable[str]) -> dict[str, str]:
    """The names that a game's texts use, such as "mug 1".

    Args:
        object_ids: all things and receptacles of a game.

    Returns:
        The name of each.
    """
    ids = {object_id: mangled(object_id).lower() for object_id in object_ids}
    names = names_of(ids.values())
    return {object_id: names[one].strip() for object_id, one in ids.items()}


@lru_cache(maxsize=1)
def _declared_types() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The types of things and of receptacles that every problem declares, whether or not the room has them."""
    constants = alfworld_tables("constants")
    receptacles = set(constants.STATIC_RECEPTACLES) - {"Bathtub", "Sink"}
    return tuple(sorted(set(constants.OBJECTS_SET) - receptacles)), tuple(sorted(receptacles))


def goal_text(task_type: str, target: str, receptacle: str) -> str:
    """The goal of a task in the planner's language, from alfworld's templates."""
    template: str = alfworld_tables("goal_library").gdict[task_type]["pddl"]
    return template.replace("#", "-").format(obj=target, recep=receptacle, toggle=LAMP)


def task_sentences(task_type: str, target: str, receptacle: str) -> list[str]:
    """How the task can be said, from alfworld's templates."""
    words = {"obj": target.lower(), "recep": receptacle.lower(), "toggle": LAMP.lower()}
    return [template.format(**words) for template in alfworld_tables("goal_library").gdict[task_type]["templates"]]


@lru_cache(maxsize=1)
def _logic() -> tuple[str, str]:
    """alfworld's domain and its grammar, which lacks the sentence of the task."""
    domain = alfworld_file("data", "alfred.pddl").read_text(encoding="utf-8")
    return domain, alfworld_file("data", "alfred.twl2").read_text(encoding="utf-8")


def domain_text() -> str:
    """The rules of the household, in the planner's language."""
    return _logic()[0]


def grammar_text(sentence: str) -> str:
    """The texts of a game whose task is said with this sentence."""
    return _logic()[1].replace("UNKNOWN GOAL", sentence)


def start_location(start: tuple[int, int]) -> str:
    """Where the agent begins: standing there, looking along the room and a little down."""
    return location_id(start, 0, 30)


def problem_text(name: str, room: Room, things: Sequence[PlacedThing], start: tuple[int, int], goal: str) -> str:
    """A room with its things and a goal, in the planner's language.

    Args:
        name: what the problem is called.
        room: the room.
        things: what lies in it.
        start: where the agent begins; in front of no receptacle.
        goal: what `goal_text` gives.

    Returns:
        The text, laid out as in the data set.
    """
    locations = sorted({fixture.location for fixture in room.fixtures} | {start_location(start)})
    thing_types, receptacle_types = _declared_types()
    declared = [
        *(f"{kind} - object" for kind in thing_types),
        *(f"{kind}Type - otype" for kind in thing_types),
        *(f"{kind}Type - rtype" for kind in receptacle_types),
        *(f"{mangled(thing.object_id)} - object" for thing in things),
        *(f"{mangled(fixture.object_id)} - receptacle" for fixture in room.fixtures),
        *(f"{mangled(location)} - location" for location in locations),
    ]
    head = f"\n(define (problem plan_{name})\n(:domain alfred)\n(:objects\n{AGENT} - agent\n"
    return (
        head + _lines(declared) + "        )\n\n(:init\n" + _lines(_facts(room, things, start)) + "        )\n" + goal
    )


def _lines(texts: Iterable[str]) -> str:
    return "".join(f"        {text}\n" for text in texts)


def _facts(room: Room, things: Sequence[PlacedThing], start: tuple[int, int]) -> list[str]:
    """All that holds at first, in the order of the data set."""
    things_by_id = {mangled(thing.object_id): thing for thing in things}
    fixtures = {mangled(fixture.object_id): fixture for fixture in room.fixtures}
    kinds = sorted({thing.kind for thing in things})
    carried = [name for name, thing in things_by_id.items() if thing.kind != LAMP]
    return [
        *(f"(receptacleType {name} {fixture.kind}Type)" for name, fixture in fixtures.items()),
        *(f"(objectType {name} {thing.kind}Type)" for name, thing in things_by_id.items()),
        *(
            f"(canContain {holder}Type {kind}Type)"
            for holder in sorted(room.fixture_kinds)
            for kind in kinds
            if kind in may_contain().get(holder, ())
        ),
        *(f"(pickupable {name})" for name in carried),
        *(f"(isReceptacleObject {name})" for name in carried if things_by_id[name].kind in _movable()),
        *(f"(openable {name})" for name, fixture in fixtures.items() if fixture.kind in OPENABLE),
        f"(atLocation {AGENT} {mangled(start_location(start))})",
        *(fact for predicate, action in _ABILITIES for fact in _able(predicate, action, things_by_id)),
        *_able("toggleable", "Toggleable", things_by_id),
        *_able("sliceable", "Sliceable", things_by_id),
        *(f"(inReceptacle {name} {mangled(thing.fixture.object_id)})" for name, thing in things_by_id.items()),
        *(f"(receptacleAtLocation {name} {mangled(fixture.location)})" for name, fixture in fixtures.items()),
        *(f"(objectAtLocation {name} {mangled(thing.fixture.location)})" for name, thing in things_by_id.items()),
    ]


def _able(predicate: str, action: str, things: Mapping[str, PlacedThing]) -> list[str]:
    return [f"({predicate} {name})" for name, thing in things.items() if thing.kind in may_undergo()[action]]


@lru_cache(maxsize=1)
def _movable() -> frozenset[str]:
    """Things that other things can lie in."""
    return frozenset(alfworld_tables("constants").MOVABLE_RECEPTACLES)
