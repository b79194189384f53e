"""The words that are single tokens of the tiny model: those of the environment that it is made for.

Whatever else is written, such as another environment's text, falls apart into bytes, so the words change how quickly
the model is taught and nothing that can be said.
"""

from __future__ import annotations

from gtr_envs.alfworld.receptacle_shapes import RECEPTACLES
from gtr_envs.alfworld.thing_shapes import THINGS
from gtr_envs.tasks import ALFWorldTask, Points24Task

TURNS = ("user\n", "assistant\n")
LARGEST_NUMBER = 400
"""Of Points24's whole intermediate results most are below it; larger ones are written in more than one token."""
LARGEST_INSTANCE = 60
"""The largest number of a thing or receptacle of one kind in a household."""
MANY = {"cabinet": 30, "drawer": 30, "shelf": 20}
FEW = 5
"""How many receptacles of a kind have tokens of their own, " cabinet 1" and so on: whether one was visited already is
then seen from a single token."""

_VERBS = ("clean", "close", "cool", "examine", "go to", "heat", "move", "open", "put", "slice", "take", "use")
_OTHERS = ("help", "inventory", "look")
_TASK_STARTS = ("put", "clean", "heat", "cool", "find", "look at", "examine")
_TASK_WORDS = ("a", "some", "two", "the", "in", "on", "in/on", "and put it in", "and put it on", "and put them in")
_LINKS = ("and put them on", "under the", "with the", "with", "from", "to", "clean", "hot", "cool")
_THOUGHTS = (
    "I hold",
    "I see",
    "I saw one at",
    ", not",
    " yet",
    ", which is not asked for",
    ", which goes to a",
    ", which wants the light of a",
    "No",
    " to take so far; there may be one at",
)


def words_for(env_id: str) -> tuple[str, ...]:
    """The single tokens of the tiny model for an environment: ALFWorld has its own, all others share Points24's."""
    return _alfworld() if env_id in ("gtr/ALFWorld-v0", "gtr/ALFWorldThor-v0") else _points24()


def _points24() -> tuple[str, ...]:
    task = Points24Task()
    frame = ['{"cards": [', '], "formula": "', *(f'", "{key}": "' for key in task.keys[2:]), '"}']
    words = [*TURNS, task.instruction, task.formula_label, task.empty_formula]
    signs = [f" {sign}" for sign in ("+", "-", "*", "/", "(", ")", "=", ">", "x", "y")]
    return (*words, *frame, *signs, "10", *(f" {number}" for number in range(LARGEST_NUMBER + 1)))


def _alfworld() -> tuple[str, ...]:
    frame = ['{"thoughts": "', '", "action": "', '"}', *ALFWorldTask.labels, "none"]
    commands = [*_VERBS, *_OTHERS]
    kinds = sorted({*THINGS, *RECEPTACLES})
    places = [f" {kind} {number}" for kind in sorted(RECEPTACLES) for number in range(1, MANY.get(kind, FEW) + 1)]
    words = [
        *(f", {command}" for command in commands),  # in a list of commands
        *commands,
        *_TASK_STARTS,
        *(f" {word}" for word in (*_TASK_WORDS, *_LINKS, *kinds)),
        *_THOUGHTS,
        *places,
        *(f" {number}" for number in range(1, LARGEST_INSTANCE + 1)),
    ]
    return tuple(dict.fromkeys((*TURNS, ALFWorldTask.instruction, *frame, *words)))
