"""`rules="gym_cards"`: Points24 and EZPoints against a second writing-down of what that package does."""

from __future__ import annotations

import ast
import operator
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_envs.cards.ez_points import EZPointsEnv
from gtr_envs.cards.formula_env import FormulaEnv
from gtr_envs.cards.hands import RANKS, Game
from gtr_envs.cards.points24 import Points24Env

HAND = ["AH", "10S", "KD", "4C"]  # 1, 10, 10, 4
BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
UNARY = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def value_of(text: str) -> Any:
    """What Python makes of an expression; raises whatever Python raises."""

    def walk(node: ast.AST) -> Any:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            base, exponent = walk(node.left), walk(node.right)
            if isinstance(base, int) and isinstance(exponent, int) and exponent > 1000 and abs(base) > 1:
                raise OverflowError
            return base**exponent
        if isinstance(node, ast.BinOp):
            return BINARY[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.UnaryOp):
            return UNARY[type(node.op)](walk(node.operand))
        if isinstance(node, ast.Constant):
            return node.value
        raise TypeError  # a call of a number, an empty tuple: never 24

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return walk(ast.parse(text.lstrip(), mode="eval").body)


class Oracle:
    """One episode by the rules in words."""

    def __init__(self, numbers: tuple[int, ...], target: int, limit: int) -> None:
        self.numbers, self.target, self.limit = list(numbers), target, limit
        self.formula: list[str] = []
        self.used: list[int] = []

    def step(self, token: str) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""
        if len(self.formula) > self.limit:
            return -1, False, True
        if token.isdigit():
            if self.used.count(int(token)) + 1 > self.numbers.count(int(token)):
                self.formula.append(" ")
                return -1, False, False
            self.used.append(int(token))
        if token == "=":
            try:
                right = value_of("".join(self.formula)) == self.target
            except Exception:
                right = False
            return (10 if right and len(self.used) == len(self.numbers) else -1), True, False
        self.formula.append(token)
        return 0, False, False


def follow(env: FormulaEnv, actions: list[int], seed: int) -> None:
    """Play and compare every step."""
    _, info = env.reset(seed=seed)
    oracle = Oracle(info["numbers"], env.game.target, env.max_actions)
    for action in actions:
        _, reward, terminated, truncated, info = env.step(np.int64(action))
        assert (reward, terminated, truncated) == oracle.step(env.action_names[action])
        assert info["formula"] == tuple(oracle.formula)
        if terminated or truncated:
            assert info["is_success"] == (reward == 10)
            return


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 15), max_size=24), st.integers(0, 2**20), st.booleans())
def test_random_play_of_points24(actions: list[int], seed: int, ends: bool) -> None:
    follow(Points24Env(rules="gym_cards"), [*actions, *([16] if ends else [])], seed)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=8), st.integers(0, 2**20))
def test_random_play_of_ez_points(actions: list[int], seed: int) -> None:
    follow(EZPointsEnv(rules="gym_cards"), actions, seed)


@settings(max_examples=150, deadline=None)
@given(st.permutations([*map(str, (1, 10, 10, 4)), *"+-*/"]), st.lists(st.sampled_from("+-*/()"), max_size=6))
def test_play_that_uses_all_the_cards(tokens: list[str], more: list[str]) -> None:
    env = Points24Env(rules="gym_cards")
    env.reset(options={"cards": HAND})
    oracle = Oracle((1, 10, 10, 4), 24, 20)
    for token in [*more, *tokens, "="]:
        said = env.step(np.int64(env.action_names.index(token)))
        assert said[1:4] == oracle.step(token)


def play(cards: list[str], formula: str, **options: Any) -> tuple[float, bool, bool]:
    env = Points24Env(rules="gym_cards", **options)
    env.reset(options={"cards": cards})
    said: Any = None
    for token in formula.split():
        said = env.step(np.int64(env.action_names.index(token)))
    return said[1:4]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("cards", "formula", "reward"),
    [
        (["2H", "4H", "AS", "AC"], "2 4 * 1 * 1 =", 10),  # digits join
        (["2H", "2S", "2D", "6C"], "2 * * 2 * 6 * ( 2 / 2 ) =", -1),  # a fifth number is no card of the hand
        (["2H", "3S", "4D", "AC"], "2 * * 3 * ( 4 - 1 ) =", 10),  # a power
        (["9H", "4S", "6D", "AC"], "9 / / 4 * * 1 + 6 =", -1),  # floor division: 8
        (["9H", "4S", "10D", "2C"], "9 / / 4 + 10 * 2 =", -1),  # 22
        (["9H", "4S", "10D", "QC"], "( 9 / / 4 ) + 10 + 10 =", -1),  # 22
        (["9H", "2S", "10D", "QC"], "9 / / 2 + 10 + 10 =", 10),  # 4 + 20
        (["6H", "4S", "AD", "AC"], "- 6 * - 4 * 1 * 1 =", 10),  # signs
        (["8H", "3S", "8D", "3C"], "8 / ( 3 - 8 / 3 ) =", -1),  # 23.99... in floating point
        (["2H", "2S", "6D", "AC"], "2 ( 2 ) * 6 * 1 =", -1),  # calls a number
        (["KH", "QS", "9D", "9C"], "9 * * 9 * * 10 * * 10 =", -1),  # too large to evaluate
        (["AH", "AS", "AD", "AC"], "=", -1),
        (["8H", "3S", "AD", "AC"], "8 * 3 =", -1),  # 24, but not from four cards
        (["8H", "3S", "AD", "AC"], "8 * 3 * 1 * 1 =", 10),
    ],
)
def test_formulas_are_read_as_python_reads_them(cards: list[str], formula: str, reward: float) -> None:
    assert play(cards, formula) == (reward, True, False)


def test_ez_points_wants_both_cards_too() -> None:
    for cards, formula, reward in (
        (["6H", "2S"], "6 * 2 =", 10),
        (["AH", "2S"], "1 2 =", 10),
        (["6H", "2S"], "6 =", -1),
    ):
        env = EZPointsEnv(rules="gym_cards")
        env.reset(options={"cards": cards})
        said: Any = None
        for token in formula.split():
            said = env.step(np.int64(env.action_names.index(token)))
        assert said[1:4] == (reward, True, False)
    # One card that is the target by itself, which no deal has, would do without this rule.
    env = EZPointsEnv(rules="gym_cards")
    env.game = Game(num_cards=2, target=6)
    env.reset(options={"cards": ["6H", "2S"]})
    env.step(np.int64(5))
    assert env.step(np.int64(12))[1] == -1


def test_a_space_between_digits_spoils_them() -> None:
    # The illegal 7 writes a space: "2 4*1*1" is no expression; beside an operator it does no harm.
    assert play(["2H", "4H", "AS", "AC"], "2 7 4 * 1 * 1 =") == (-1, True, False)
    assert play(["2H", "4H", "AS", "AC"], "2 4 7 * 1 * 1 =") == (10, True, False)
    assert play(["2H", "4H", "AS", "AC"], "7 2 4 * 1 * 1 =") == (10, True, False)


def test_an_illegal_number_writes_a_space_and_may_end_the_episode_by_option() -> None:
    env = Points24Env(rules="gym_cards")
    before, _ = env.reset(options={"cards": HAND})
    frame, reward, terminated, truncated, info = env.step(np.int64(6))
    assert (reward, terminated, truncated) == (-1, False, False)
    assert info["formula"] == (" ",)
    assert info["illegal"]
    assert (frame == before).all()
    assert play(HAND, "7", illegal="terminate") == (-1, True, False)


def test_the_formula_is_too_long_after_twenty_one_tokens() -> None:
    env = Points24Env(rules="gym_cards")
    env.reset(options={"cards": HAND})
    for _ in range(21):
        assert env.step(np.int64(14))[1:4] == (0, False, False)
    _, reward, terminated, truncated, info = env.step(np.int64(16))
    assert (reward, terminated, truncated) == (-1, False, True)
    assert info["formula"] == ("(",) * 21
    assert info["is_success"] is False


def test_numbers_may_follow_each_other_and_no_distance_is_claimed() -> None:
    env = Points24Env(rules="gym_cards")
    _, info = env.reset(options={"cards": HAND})
    assert "distance" not in info
    info = env.step(np.int64(9))[4]
    assert info["action_mask"].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0, 1] + [1] * 7


def test_the_deal_is_uniform_over_ranks_and_suits_with_repeats() -> None:
    env = Points24Env(rules="gym_cards")
    hands = [env.reset(seed=seed)[1] for seed in range(2500)]
    cards = [card for info in hands for card in info["cards"]]
    # Five standard deviations of a count among 10,000.
    for rank in RANKS:
        assert abs(sum(card[:-1] == rank for card in cards) - 10_000 / 13) < 5 * 26.7
    for suit in "SHDC":
        assert abs(sum(card[-1] == suit for card in cards) - 2500) < 5 * 43.3
    # One deck of its own for each card: 1 - 51 * 50 * 49 / 52**3 = 11.1% of the hands have a card twice.
    repeats = sum(len(set(info["cards"])) < 4 for info in hands) / len(hands)
    assert abs(repeats - 0.111) < 5 * 0.0063
    assert abs(sum(info["solvable"] for info in hands) / len(hands) - 0.731) < 5 * 0.0089
    assert Points24Env(rules="gym_cards", hands="solvable").reset(seed=0)[1]["solvable"]


def test_ez_points_deals_what_gym_cards_deals() -> None:
    env = EZPointsEnv(rules="gym_cards")
    infos = [env.reset(seed=seed)[1] for seed in range(3000)]
    pairs = [tuple(sorted(info["numbers"])) for info in infos]
    # Of twelve ranks 2, 3, 4 and 6 have a whole quotient, taken in half of the cases; four count ten.
    expected = {
        (2, 6): (1 + 1) / 24,
        (3, 4): (1 + 1) / 24,
        (2, 10): 0.5 / 12 + 4 / 12,
        (3, 9): (0.5 + 1) / 12,
        (4, 8): (0.5 + 1) / 12,
        (6, 6): 0.5 / 12,
        (5, 7): 2 / 12,
    }
    assert sum(expected.values()) == pytest.approx(1)
    for pair, chance in expected.items():
        deviation = (chance * (1 - chance) * 3000) ** 0.5
        assert abs(pairs.count(pair) - 3000 * chance) < 5 * deviation, pair
    assert set(pairs) == set(expected)
    first_larger = sum(info["numbers"][0] > info["numbers"][1] for info in infos if info["numbers"] != (6, 6))
    assert abs(first_larger - len(infos) * 0.48) < 5 * 28
    assert all(info["solvable"] for info in infos)
    assert any(len(set(info["cards"])) == 1 for info in infos)
    strict = EZPointsEnv()
    hands = [strict.reset(seed=seed)[1] for seed in range(1500)]
    sixes = [info["cards"] for info in hands if info["numbers"] == (6, 6)]
    assert len(sixes) > 20
    assert all(len(set(cards)) == 2 for cards in sixes)
