"""Thoughts that compute: every step is right, and together they reach 24."""

import re
from fractions import Fraction
from itertools import permutations

import pytest

from gtr_envs.cards.chain import EXACT, grammar_plans, mark_progress, plans
from gtr_envs.cards.formula import evaluate
from gtr_envs.cards.hands import solvable_multisets
from gtr_envs.cards.search import agrees, first_plans, search_text

STEP = re.compile(r"(\S+) ([-+*/]) (\S+) = (\S+)((?: \d\S*)*)")


def test_the_grammar_covers_95_percent_of_the_solvable_hands() -> None:
    covered = [hand for hand in solvable_multisets() if grammar_plans(hand)]
    assert len(covered) == 543
    assert len(covered) / len(solvable_multisets()) > 0.95


def test_every_plan_is_a_way_to_win_with_true_steps() -> None:
    for hand in solvable_multisets():
        chosen = plans(hand)
        assert chosen, f"{hand} can be solved"
        for plan in chosen:
            assert evaluate(plan.formula) == 24
            left = [Fraction(number) for number in hand]
            for reduction in plan.reductions:
                assert (
                    EXACT[reduction.operator](Fraction(reduction.left), Fraction(reduction.right)) == reduction.result
                )
                left.remove(Fraction(reduction.left))
                left.remove(Fraction(reduction.right))
                assert sorted(left) == sorted(reduction.rest)
                left.append(Fraction(reduction.result))
            assert left == [24]


def test_the_text_of_a_plan() -> None:
    plan = next(plan for plan in plans((6, 2, 3, 7)) if plan.formula == ("7", "*", "6", "/", "2", "+", "3"))
    assert plan.text(("7", "*", "6")) == "7 * 6 = 42 2 3; 42 / 2 = 21 3; 21 + 3 = 24: 7 * 6 > / 2 + 3 ="
    assert mark_progress(plan.formula, 7).endswith("3 > =")


def test_the_order_of_the_hand_changes_what_is_left_but_not_the_formulas() -> None:
    formulas = {plan.formula for plan in grammar_plans((2, 3, 6, 7))}
    for hand in permutations((2, 3, 6, 7)):
        assert {plan.formula for plan in grammar_plans(hand)} == formulas
    first = grammar_plans((7, 6, 3, 2))[0].reductions[0]
    assert [int(value) for value in first.rest] == [v for v in (7, 6, 3, 2) if v not in (first.left, first.right)]


@pytest.mark.parametrize("hand", [(3, 3, 8, 8), (1, 5, 5, 5)])
def test_hands_that_need_fractions_have_a_plan_of_the_exact_solver(hand: tuple[int, ...]) -> None:
    assert grammar_plans(hand) == ()
    (plan,) = plans(hand)
    assert "/" in plan.text(()).split(":")[0]
    assert evaluate(plan.formula) == 24


def test_a_lost_formula_has_no_plan() -> None:
    assert plans((6, 2, 3, 7), ("6", "/", "7")) == ()


def test_a_search_tries_in_order_and_its_verdicts_are_true() -> None:
    for hand in ((6, 2, 3, 7), (7, 8, 10, 10), (1, 2, 8, 9)):
        can_start = {(str(plan.reductions[0])) for plan in grammar_plans(hand)}
        plan = first_plans(hand, plans(hand))[0]
        tried, _, formula = search_text(hand, (), plan).rpartition(": ")
        steps = tried.split("; ")
        verdicts = [step for step in steps if step[-1] in "xy"]
        assert [step.endswith("y") for step in verdicts] == [False] * (len(verdicts) - 1) + [True]
        assert all((step[:-2] in can_start) == step.endswith("y") for step in verdicts)
        assert len(set(verdicts)) == len(verdicts)
        assert formula == mark_progress(plan.formula, 0)


def test_a_search_tries_only_what_agrees_with_the_formula() -> None:
    assert agrees(("7", "*", "6"), ("(", "7"))
    assert agrees(("7", "*", "6"), ("7", "*", "6", "/"))
    assert not agrees(("7", "*", "6"), ("6",))
    done = ("7", "*")
    plan = first_plans((6, 2, 3, 7), plans((6, 2, 3, 7), done))[0]
    tried = search_text((6, 2, 3, 7), done, plan).split(": ")[0].split("; ")
    assert all(STEP.match(step).group(1, 2) == ("7", "*") for step in tried if step[-1] in "xy")  # type: ignore[union-attr]
