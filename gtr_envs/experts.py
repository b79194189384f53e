"""Policies that need no model: the random one and the solver, which sees the whole state.

The solver is the upper bound of an evaluation and the teacher of the warm start. It speaks the protocol in full, so its
episodes are demonstrations as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from gtr_envs.cards.chain import Plan, plans
from gtr_envs.cards.search import first_plans, search_text
from gtr_envs.episode import Request, Response
from gtr_envs.errors import SettingError, UnknownEnvironmentError
from gtr_envs.protocol import write_answer

ThoughtStyle = Literal["chain", "search"]
NO_WAY = "24 is out of reach from here"


class RandomPolicy:
    """Answers in form with an action drawn evenly from those that the environment does not call illegal."""

    name = "random"

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self._answer(request)) for request in requests]

    @staticmethod
    def _answer(request: Request) -> str:
        names = request.task.allowed(request.info)
        mask = request.info.get("action_mask")
        if mask is not None:
            names = tuple(name for name in names if mask[request.task.env_action(name, request.info)])
        action = names[int(request.rng.integers(len(names)))]
        return write_answer({**dict.fromkeys(request.task.keys, ""), "action": action})


class SolverPolicy:
    """Plays a way to win wherever there is one, and ends the episode where there is none.

    Args:
        thoughts: how it thinks aloud: the ``chain`` of reductions that it plays, or the ordered ``search`` for them.
        vary: draw among all plans from the request's generator instead of taking the first. For demonstrations.
    """

    name = "expert"

    def __init__(self, thoughts: ThoughtStyle = "chain", vary: bool = False) -> None:
        if thoughts not in get_args(ThoughtStyle):
            raise SettingError(f"thoughts={thoughts!r} is not allowed; choose one of {get_args(ThoughtStyle)}")
        self.thoughts = thoughts
        self.vary = vary

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(_solver_for(request)(self, request)) for request in requests]

    def points24(self, request: Request) -> str:
        """The answer for a Points24 state."""
        rng = request.rng if self.vary else None
        return points24_answer(request.info["numbers"], request.info["formula"], self.thoughts, rng)


def points24_answer(
    numbers: Sequence[int], done: Sequence[str], thoughts: ThoughtStyle, rng: np.random.Generator | None = None
) -> str:
    """The solver's answer for a Points24 state, in the protocol's form.

    Args:
        numbers: the hand's four values.
        done: the tokens on the table.
        thoughts: how it thinks aloud.
        rng: draws among all plans; None for the first.
    """
    numbers, done = tuple(numbers), tuple(done)
    choices: Sequence[Plan] = plans(numbers, done)
    if thoughts == "search":
        choices = first_plans(numbers, choices)
    thought, action = NO_WAY, "="
    if choices:
        plan = choices[int(rng.integers(len(choices)))] if rng is not None else choices[0]
        thought = plan.text(done) if thoughts == "chain" else search_text(numbers, done, plan)
        action = (*plan.formula, "=")[len(done)]
    return write_answer({"cards": list(numbers), "formula": " ".join(done), "thoughts": thought, "action": action})


def _solver_for(request: Request) -> Callable[[SolverPolicy, Request], str]:
    solvers = {"gtr/Points24-v0": SolverPolicy.points24}
    if request.task.env_id not in solvers:
        raise UnknownEnvironmentError(f"no solver plays {request.task.env_id!r}; it plays {', '.join(solvers)}")
    return solvers[request.task.env_id]
