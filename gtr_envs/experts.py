"""Policies that need no model: the random one and the solver, which sees the whole state.

The solver is the upper bound of an evaluation and the teacher of the warm start. It speaks the protocol in full, so its
episodes are demonstrations as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from gtr_envs.cards.blackjack_strategy import action_values
from gtr_envs.cards.chain import Plan, plans, reductions_in
from gtr_envs.cards.formula import winning_continuation
from gtr_envs.cards.python_expression import is_python_win
from gtr_envs.cards.search import first_plans, search_text
from gtr_envs.cards.solver import solutions
from gtr_envs.episode import Request, Response
from gtr_envs.errors import SettingError, UnknownEnvironmentError
from gtr_envs.protocol import write_answer
from gtr_envs.tasks import FormulaTask

ThoughtStyle = Literal["chain", "search"]
ALFWORLD = "gtr/ALFWorld-v0"
NO_WAY = "24 is out of reach from here"
USUAL_GAME = {"rules": "strict", "num_cards": 4, "target": 24, "face_cards": "ten"}
"""The options of Points24 that its own solver, which thinks aloud in more than one way, is made for."""


class RandomPolicy:
    """Answers in form with an action drawn evenly from those that the environment does not call illegal."""

    name = "random"

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self._answer(request)) for request in requests]

    @staticmethod
    def _answer(request: Request) -> str:
        names = request.task.legal(request.info)
        action = names[int(request.rng.integers(len(names)))]
        return write_answer({**dict.fromkeys(request.task.keys, ""), "action": action})


class SolverPolicy:
    """Plays a way to win wherever it knows one, which is always under strict rules, and else ends the episode.

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
        return [Response(self._answer(request)) for request in requests]

    def _answer(self, request: Request) -> str:
        if request.task.env_id not in _SOLVERS:
            raise UnknownEnvironmentError(f"no solver plays {request.task.env_id!r}; it plays {', '.join(_SOLVERS)}")
        return _SOLVERS[request.task.env_id](self, request)


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


def knows_a_way(request: Request) -> bool:
    """Whether the expert can win from a turn. In the formula games a wrong token on the table cannot be taken back."""
    task, info = request.task, request.info
    if not isinstance(task, FormulaTask):
        return True
    numbers, done = tuple(info["numbers"]), tuple(info["formula"])
    return bool(plans(numbers, done)) if _is_usual_game(task) else _formula_from(task, numbers, done) is not None


def _is_usual_game(task: FormulaTask) -> bool:
    usual = all(task.options.get(name, value) == value for name, value in USUAL_GAME.items())
    return task.env_id == "gtr/Points24-v0" and usual


def _play_points24(policy: SolverPolicy, request: Request) -> str:
    info, task = request.info, request.task
    assert isinstance(task, FormulaTask)
    if not _is_usual_game(task):
        return _play_formula(policy, request)
    return points24_answer(info["numbers"], info["formula"], policy.thoughts, request.rng if policy.vary else None)


def _play_formula(policy: SolverPolicy, request: Request) -> str:
    """The answer in any formula game: a shortest way to win, from what is on the table."""
    task, numbers, done = request.task, tuple(request.info["numbers"]), tuple(request.info["formula"])
    assert isinstance(task, FormulaTask)
    formula = _formula_from(task, numbers, done)
    thought, action = f"{task.target} is out of reach from here", "="
    if formula is not None:
        thought = Plan(reductions_in(formula, numbers), formula).text(done)
        action = (*formula, "=")[len(done)]
    return write_answer({"cards": list(numbers), "formula": " ".join(done), "thoughts": thought, "action": action})


def _formula_from(task: FormulaTask, numbers: tuple[int, ...], done: tuple[str, ...]) -> tuple[str, ...] | None:
    """A formula that begins with what is on the table and wins.

    Under the rules of gym_cards only proper formulas are known, not all that Python reads: a way to win may be missed
    where a space or a pair of joined digits is on the table already.
    """
    as_python = task.options.get("rules") == "gym_cards"
    if not as_python and "(" in task.actions:
        rest = winning_continuation(done, numbers, task.target)
        return None if rest is None else (*done, *rest)[:-1]
    found = winning_formulas(numbers, task.target, task.actions, as_python)
    return next((formula for formula in found if formula[: len(done)] == done), None)


@lru_cache(maxsize=512)
def winning_formulas(
    numbers: tuple[int, ...], target: int, tokens: tuple[str, ...], as_python: bool
) -> tuple[tuple[str, ...], ...]:
    """The formulas, without superfluous parentheses, that win with these values; the shortest first.

    Args:
        numbers: the hand's values.
        target: what to make.
        tokens: what a formula may be written with.
        as_python: only those that also win as Python reads them, in floating point.
    """
    found = solutions(numbers, target)
    return tuple(
        formula
        for formula in found
        if set(formula) <= set(tokens) and (not as_python or is_python_win(formula, target))
    )


def _play_number_line(policy: SolverPolicy, request: Request) -> str:
    target, current = request.info["target"], request.info["current"]
    action, relation = ("+", "above") if target > current else ("-", "below")
    thought = f"{target} is {relation} {current}"
    return write_answer({"target": target, "current": current, "thoughts": thought, "action": action})


def _play_blackjack(policy: SolverPolicy, request: Request) -> str:
    info = request.info
    counts = f"{info['player_sum']}{' with an ace as 11' if info['usable_ace'] else ''}"
    stick, hit = action_values(info["player_sum"], info["usable_ace"], info["dealer_card"])
    thought = f"{counts} against {info['dealer_card']}: {stick:+.2f} to stick, {hit:+.2f} to hit"
    player = [card[:-1] for card in info["player"]]
    action = "hit" if hit > stick else "stick"
    return write_answer({"dealer": info["dealer"][0][:-1], "player": player, "thoughts": thought, "action": action})


def _play_alfworld(policy: SolverPolicy, request: Request) -> str:
    from gtr_envs.alfworld.solver import next_command

    info = request.info
    command = next_command(info["goal"], info["household"], info["admissible_commands"])
    thought = f"the next step of the way to {info['task']}" if command else "nothing helps any more"
    return write_answer({"thoughts": thought, "action": command or "look"})


class ExplorerPolicy:
    """Plays ALFWorld knowing only what an agent could know: the task, the admissible commands, what it has seen."""

    name = "explorer"

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self._answer(request)) for request in requests]

    @staticmethod
    def _answer(request: Request) -> str:
        from gtr_envs.alfworld.explorer import Explorer

        if request.task.env_id != ALFWORLD:
            raise UnknownEnvironmentError(f"the explorer plays {ALFWORLD} only, not {request.task.env_id!r}")
        explorer, info = Explorer(request.info["goal"]), request.info
        for view in info["views"]:
            explorer.notice(view)
        command = explorer.act(info["views"][-1], info["admissible_commands"])
        return write_answer({"thoughts": explorer.thought(info["views"][-1], command), "action": command})


def demonstrator(env_id: str) -> SolverPolicy | ExplorerPolicy:
    """The expert to imitate in an environment: the one that knows no more than an agent does, where there is one.

    Raises:
        UnknownEnvironmentError: no expert plays it.
    """
    if env_id not in _SOLVERS:
        raise UnknownEnvironmentError(f"no expert demonstrates {env_id!r}; there are experts for {', '.join(_SOLVERS)}")
    return ExplorerPolicy() if env_id == ALFWORLD else SolverPolicy()


_SOLVERS: dict[str, Callable[[SolverPolicy, Request], str]] = {
    "gtr/Points24-v0": _play_points24,
    "gtr/EZPoints-v0": _play_formula,
    "gtr/NumberLine-v0": _play_number_line,
    "gtr/Blackjack-v0": _play_blackjack,
    ALFWORLD: _play_alfworld,
}
