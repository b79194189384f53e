"""What each environment asks of an agent in words: its prompt, its answer's keys and the actions that exist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from gtr_envs.errors import UnknownEnvironmentError


class Task(ABC):
    """The words of one environment.

    Attributes:
        env_id: the Gymnasium id it belongs to.
        keys: the keys of an answer, in order; the last is the action.
        max_turns: turns after which an episode is truncated whatever the answers were. An invalid answer leaves the
            environment as it is, so the environment's own limit cannot end such an episode.
    """

    env_id: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]
    max_turns: ClassVar[int]

    @abstractmethod
    def prompt(self, info: Mapping[str, Any]) -> str:
        """The text that goes with the picture, for the state described by the environment's ``info``."""

    @abstractmethod
    def allowed(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        """The texts of all actions that exist in this state, legal or not."""

    @abstractmethod
    def env_action(self, action: str, info: Mapping[str, Any]) -> Any:
        """The environment's own form of an allowed action's text."""


class Points24Task(Task):
    """Points24 in words. The fixed instruction comes first: a prompt cache or a small vocabulary can share it."""

    env_id = "gtr/Points24-v0"
    keys = ("cards", "formula", "thoughts", "action")
    max_turns = 21
    actions: ClassVar[tuple[str, ...]] = (*(str(number) for number in range(1, 11)), "+", "-", "*", "/", "(", ")", "=")
    instruction: ClassVar[str] = (
        "You are playing the 24 game. The picture shows four cards and, below them, the formula so far. "
        "An A counts 1; J, Q and K count 10. Add one token a turn to the formula so that it uses each card exactly "
        "once and equals 24, then play '='. The tokens are 1 2 3 4 5 6 7 8 9 10 + - * / ( ) =. "
        'Answer with one JSON object: {"cards": [the four values], "formula": "the formula so far", '
        '"thoughts": "how to reach 24 from here", "action": "the next token"}.'
    )
    formula_label: ClassVar[str] = "\nFormula so far: "
    empty_formula: ClassVar[str] = "none"

    def prompt(self, info: Mapping[str, Any]) -> str:
        return self.instruction + self.formula_label + (" ".join(info["formula"]) or self.empty_formula)

    def allowed(self, info: Mapping[str, Any]) -> tuple[str, ...]:
        return self.actions

    def env_action(self, action: str, info: Mapping[str, Any]) -> int:
        return self.actions.index(action)


TASKS: dict[str, Task] = {task.env_id: task for task in (Points24Task(),)}


def task_for(env_id: str) -> Task:
    """The words of an environment.

    Raises:
        UnknownEnvironmentError: no task of this id speaks the protocol.
    """
    if env_id not in TASKS:
        known = ", ".join(TASKS)
        raise UnknownEnvironmentError(f"unknown environment {env_id!r}; those an agent can play: {known}")
    return TASKS[env_id]
