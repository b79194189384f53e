"""Plays with no more knowledge than a player has: the task, the admissible commands, and what it has seen so far.

It keeps a household as it believes it to be and lets the solver play in it; where that finds nothing to do, it
searches on. Its episodes can be imitated from pictures, which those of a solver that sees through doors cannot.
"""

from __future__ import annotations

from collections.abc import Sequence

from gtr_envs.alfworld.goals import LOOK, SIMPLE, Goal
from gtr_envs.alfworld.records import Household, PlanMark, Receptacle, Thing, View
from gtr_envs.alfworld.solver import first_admissible, next_command
from gtr_envs.alfworld.state import LAMP_KINDS, name_order

# Where things are kept: for groups of types, the types of receptacles in the order in which to look, chosen by hand.
# A cupboard costs two commands and most are empty, hence worktops first even for what belongs into a cupboard.
_KITCHEN_TOPS = "countertop diningtable"
_ROOM_TOPS = "desk sidetable dresser coffeetable diningtable shelf"
_KEPT = (
    ("apple tomato potato lettuce", f"{_KITCHEN_TOPS} fridge sinkbasin garbagecan microwave sidetable"),
    ("egg", f"fridge {_KITCHEN_TOPS} sinkbasin microwave garbagecan sidetable"),
    ("bread", f"{_KITCHEN_TOPS} fridge sidetable"),
    ("mug", f"{_KITCHEN_TOPS} coffeemachine sinkbasin desk shelf microwave fridge cabinet sidetable drawer dresser"),
    ("cup", f"{_KITCHEN_TOPS} sinkbasin microwave fridge cabinet shelf sidetable desk"),
    ("bowl plate", f"{_KITCHEN_TOPS} sinkbasin desk shelf sidetable coffeetable fridge microwave cabinet dresser"),
    ("pan pot", f"stoveburner {_KITCHEN_TOPS} sinkbasin fridge cabinet"),
    ("kettle", f"stoveburner {_KITCHEN_TOPS} sinkbasin shelf cabinet"),
    ("fork spoon knife butterknife spatula ladle", f"{_KITCHEN_TOPS} sinkbasin sidetable drawer cabinet"),
    ("saltshaker peppershaker", f"{_KITCHEN_TOPS} shelf sidetable cabinet drawer"),
    ("glassbottle winebottle", f"{_KITCHEN_TOPS} shelf sinkbasin fridge garbagecan cabinet sidetable"),
    ("dishsponge", f"{_KITCHEN_TOPS} sinkbasin toilet bathtubbasin sidetable drawer cabinet"),
    ("papertowelroll", f"{_KITCHEN_TOPS} shelf toilet garbagecan cabinet drawer"),
    ("soapbar", "sinkbasin countertop bathtubbasin toilet shelf garbagecan sidetable drawer cabinet"),
    ("soapbottle spraybottle", "countertop toilet shelf sinkbasin sidetable garbagecan dresser cabinet drawer"),
    ("cloth", "bathtubbasin countertop sidetable sinkbasin toilet dresser shelf cart laundryhamper drawer cabinet"),
    ("toiletpaper", "toilet toiletpaperhanger countertop shelf sidetable cart garbagecan dresser drawer cabinet"),
    ("towel", "towelholder bathtubbasin countertop"),
    ("handtowel", "handtowelholder countertop sinkbasin cabinet"),
    ("candle", "countertop toilet shelf sidetable coffeetable dresser desk cart cabinet drawer"),
    ("tissuebox", f"{_ROOM_TOPS} countertop toilet cart garbagecan drawer cabinet"),
    ("pillow", "bed sofa armchair ottoman"),
    ("laptop", "bed desk sofa coffeetable diningtable armchair dresser sidetable ottoman"),
    ("book", "bed desk sofa coffeetable diningtable sidetable armchair dresser shelf drawer cabinet"),
    ("newspaper", "sofa coffeetable diningtable armchair sidetable ottoman desk tvstand garbagecan shelf drawer"),
    ("box", "coffeetable diningtable sofa armchair dresser sidetable desk tvstand shelf ottoman cabinet"),
    ("remotecontrol", "sofa coffeetable tvstand sidetable armchair diningtable dresser ottoman desk shelf drawer"),
    ("cellphone", f"bed sofa armchair {_ROOM_TOPS} countertop drawer"),
    ("creditcard keychain watch", f"{_ROOM_TOPS} tvstand sofa armchair countertop bed drawer cabinet safe"),
    ("pen pencil cd", f"{_ROOM_TOPS} bed countertop drawer garbagecan cabinet safe"),
    ("alarmclock", "desk sidetable dresser shelf bed drawer"),
    ("statue vase wateringcan", f"{_ROOM_TOPS} tvstand cart safe cabinet drawer"),
    ("baseballbat basketball tennisracket", "bed desk sofa armchair dresser sidetable"),
    ("desklamp", "desk sidetable dresser shelf coffeetable diningtable"),
)
LIKELY = {thing: tuple(receptacles.split()) for things, receptacles in _KEPT for thing in things.split()}
# Where the table is silent, anything may yet lie on furniture like this, which is quicker to look at than a cupboard.
SURFACES = frozenset(f"{_ROOM_TOPS} {_KITCHEN_TOPS} bed sofa armchair ottoman tvstand cart".split())
CUPBOARDS = frozenset({"cabinet", "drawer", "safe"})
_SURFACE, _CUPBOARD, _NOT_LISTED, _NEVER = 50, 100, 200, 300  # added to the place in the table, or instead of one


class Explorer:
    """Searches for the thing that the task names, in likely places first, remembers what it saw, and does the task."""

    def __init__(self, goal: Goal) -> None:
        self.reset(goal)

    def reset(self, goal: Goal) -> None:
        """Forgets everything, for a new game."""
        self._goal = goal
        self._known: dict[str, Receptacle] = {}

    def act(self, view: View, admissible: Sequence[str]) -> str:
        """The next command.

        Args:
            view: what it sees now.
            admissible: the commands that the engine takes now, at least one.

        Returns:
            One of the admissible commands; "look", where it has searched everything in vain.
        """
        self.notice(view)
        command = next_command(self._goal, self._believed(view), admissible) or self._search(view, admissible)
        return command or first_admissible(["look"], admissible) or admissible[0]

    def notice(self, view: View) -> None:
        """Remember what a view shows."""
        self._known.update((receptacle.name, receptacle) for receptacle in view.at_hand)

    def thought(self, view: View, command: str) -> str:
        """Why it does what it does, from what it sees, holds and remembers.

        Args:
            view: what it sees now.
            command: what it does next.
        """
        goal, held = self._goal, view.holding
        if held is not None:
            return f"I hold {held.name}{self._plan_for(held)}"
        here = [thing.name for receptacle in view.at_hand for thing in receptacle.contents]
        seen = next((name for name in here if command.startswith(f"take {name} from ")), "")
        if seen:
            return f"I see {seen}"
        target = self._known_target(view, command)
        if target:
            return f"I saw one at {target}"
        place = command.removeprefix("go to ").removeprefix("open ")
        return f"No {goal.kind} to take so far; there may be one at {place}"

    def _plan_for(self, held: Thing) -> str:
        """What is to become of what it holds."""
        goal = self._goal
        if held.kind != goal.kind:
            return ", which is not asked for"
        if goal.state and goal.state not in held.states:
            return f", not {goal.state} yet"
        return f", which wants the light of a {goal.lamp}" if goal.lamp else f", which goes to a {goal.receptacle}"

    def _known_target(self, view: View, command: str) -> str:
        """The receptacle that a command leads to, if it is known to hold what is wanted and was not just found."""
        name = command.removeprefix("go to ").removeprefix("open ")
        known = self._known.get(name)
        return name if known and any(thing.kind == self._goal.kind for thing in known.contents) else ""

    def _believed(self, view: View) -> Household:
        """The household as far as it was seen: as it last was, and empty where it was not."""
        receptacles = tuple(
            # A receptacle not seen yet stands at a place of its own, which is called after it.
            self._known.get(mark.name, Receptacle(mark.name, mark.kind, mark.name, mark.x, mark.z))
            for mark in view.plan
        )
        lamps = [
            (thing, receptacle.place)
            for receptacle in receptacles
            for thing in receptacle.contents
            if thing.kind in LAMP_KINDS
        ]
        lamps.sort(key=lambda lamp: name_order(lamp[0].name))
        place = view.at_hand[0].place if view.at_hand else ""
        return Household(receptacles, view.holding, place, tuple(lamps))

    def _search(self, view: View, admissible: Sequence[str]) -> str | None:
        """Opens or goes to the likeliest receptacle whose contents are unknown; None if there is none."""
        wanted = self._wanted(view)
        unknown = [mark for mark in view.plan if not self._seen_inside(mark.name)]
        unknown.sort(key=lambda mark: self._rank(mark, wanted))
        commands = [f"{'open' if mark.is_here else 'go to'} {mark.name}" for mark in unknown]
        return first_admissible(commands, admissible)

    def _seen_inside(self, name: str) -> bool:
        """Whether it has seen what is in a receptacle."""
        return name in self._known and self._known[name].shows_contents

    def _wanted(self, view: View) -> tuple[str, ...]:
        """The types that it still has to find."""
        goal = self._goal
        if goal.task_type != LOOK:
            return (goal.kind,)
        seen = {thing.kind for receptacle in self._known.values() for thing in receptacle.contents}
        seen |= {view.holding.kind} if view.holding else set()
        return tuple(kind for kind in (goal.kind, goal.lamp) if kind not in seen)

    def _rank(self, mark: PlanMark, wanted: Sequence[str]) -> tuple[int, bool, tuple[str, int]]:
        """Sorts receptacles: the likeliest to hold one of what is wanted first, then what is at hand, then by name."""
        rank = min((_guess(kind, mark.kind) for kind in wanted), default=_NOT_LISTED)
        if self._goal.task_type == SIMPLE and mark.kind == self._goal.receptacle:
            rank = _NEVER  # with the thing in it the game would have been won at the start
        return rank, not mark.is_here, name_order(mark.name)


def _guess(kind: str, receptacle: str) -> int:
    """How late to look for a type of thing in a type of receptacle."""
    likely = LIKELY.get(kind, ())
    if receptacle not in likely:
        return _SURFACE if receptacle in SURFACES else _NOT_LISTED
    return likely.index(receptacle) + (_CUPBOARD if receptacle in CUPBOARDS else 0)
