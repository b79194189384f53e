"""Thoughts that search: first reductions tried in a fixed order, each with a verdict, until one leads to 24.

For 6 2 3 7 the text begins ``6 + 2 = 8 3 7 x; 6 + 3 = 9 2 7 x;`` and ends with the first candidate that works, carried
on as in ``chain.py``: ``7 * 6 = 42 2 3 y; 42 / 2 = 21 3; 21 + 3 = 24: > 7 * 6 / 2 + 3 =``. The verdict ``x`` says that
no plan of the narrow grammar begins so, ``y`` that one does. With a formula on the table only candidates that agree
with it are tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from gtr_envs.cards.chain import Plan, Term, grammar_plans, mark_progress, reductions_of

WORKS, FAILS = "y", "x"


def search_text(numbers: Sequence[int], done: Sequence[str], plan: Plan) -> str:
    """The search that ends in a plan.

    Args:
        numbers: the hand's four values.
        done: the tokens on the table.
        plan: one that begins with them. Where it is none of the narrow grammar's, there is no search to tell of, and
            the text is the plan's own.
    """
    done = tuple(done)
    if plan not in grammar_plans(tuple(numbers)):
        return plan.text(done)
    cards = [Term(number, (str(number),)) for number in numbers]
    failed = []
    for reduction, after in reductions_of(cards):
        if reduction == plan.reductions[0]:
            break
        attempt = f"{reduction} {FAILS}"
        if agrees(after[0].tokens, done) and attempt not in failed:
            failed.append(attempt)
    first, *others = plan.reductions
    steps = "; ".join([*failed, f"{first} {WORKS}", *(str(reduction) for reduction in others)])
    return f"{steps}: {mark_progress(plan.formula, len(done))}"


def first_plans(numbers: Sequence[int], choices: Sequence[Plan]) -> list[Plan]:
    """Of several plans those whose first reduction comes first in the search's order: no verdict before it is false."""
    if not choices:
        return []
    cards = [Term(number, (str(number),)) for number in numbers]
    order = {reduction: place for place, (reduction, _) in reversed(list(enumerate(reductions_of(cards))))}
    places = [order.get(plan.reductions[0], len(order)) for plan in choices]
    return [plan for plan, place in zip(choices, places, strict=True) if place == min(places)]


def agrees(opening: Sequence[str], done: Sequence[str]) -> bool:
    """Whether a formula on the table can begin with a first reduction's pair, whatever its parentheses."""
    bare = tuple(token for token in done if token != "(")[: len(opening)]
    return tuple(opening[: len(bare)]) == bare
