"""The values that Python gives to texts, against Python's own grammar and operators."""

from __future__ import annotations

import ast
import math
import operator
import string
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gtr_envs.cards.python_expression import MAX_BITS, MAX_CHARACTERS, is_python_win, python_value

ALPHABET = "0123456789+-*/() "
NUMBERS = [str(number) for number in range(1, 14)]
TOKENS = [*NUMBERS, "+", "-", "*", "/", "(", ")", " "]
OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def oracle_value(text: str) -> Any:
    """What Python makes of the text, None for an error or no number, within the limit on whole numbers."""

    def checked(value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise OverflowError
        return value

    def walk(node: ast.AST) -> Any:
        if isinstance(node, ast.UnaryOp):
            return checked(OPERATIONS[type(node.op)](walk(node.operand)))
        if isinstance(node, ast.BinOp):
            left, right = walk(node.left), walk(node.right)
            if isinstance(node.op, ast.Pow) and type(left) is type(right) is int and right > 0:
                if left in (0, 1):
                    return left
                if abs(left) > 1 and right * math.log2(abs(left)) > 2 * MAX_BITS:
                    raise OverflowError
            return checked(OPERATIONS[type(node.op)](left, right))
        if isinstance(node, ast.Constant):
            return checked(node.value)
        raise TypeError  # A call, or a tuple.

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.lstrip(" \t"), mode="eval")
        return walk(tree.body)
    except (SyntaxError, ArithmeticError, TypeError):
        return None


def is_same(found: Any, expected: Any) -> bool:
    """Whether the values are of one type and equal to the last bit, signs of zeros and all."""
    return type(found) is type(expected) and repr(found) == repr(expected)


def grow(pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["+", "-", "*", "/", "//", "**", " + ", " - ", "* ", " /", "--", "*-", "**-"])
    return (
        st.tuples(pieces, signs, pieces).map("".join)
        | pieces.map(lambda text: f"({text})")
        | pieces.map(lambda text: f"-{text}")
    )


EXPRESSIONS = st.recursive(st.sampled_from(["0", "00", *NUMBERS]), grow, max_leaves=10)


@settings(max_examples=1500)
@given(st.text(ALPHABET, max_size=14) | st.text("12()*/- ", max_size=MAX_CHARACTERS + 10))
def test_any_text_of_the_language_has_pythons_value(text: str) -> None:
    expected = oracle_value(text) if len(text) <= MAX_CHARACTERS else None
    assert is_same(python_value(text), expected), text


@settings(max_examples=1500)
@given(EXPRESSIONS.filter(lambda text: len(text) <= MAX_CHARACTERS))
@example("(0-8)**(1/3)")
@example("(1-2)**(3**9**3)")
@example("(10/1)**308*10-(10/1)**308*10")
def test_any_expression_has_pythons_value(text: str) -> None:
    assert is_same(python_value(text), oracle_value(text)), text


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(TOKENS), max_size=21), st.integers(0, 30))
def test_any_formula_of_the_game_is_judged_as_python_would(tokens: list[str], target: int) -> None:
    expected = oracle_value("".join(tokens))
    assert is_same(python_value("".join(tokens)), expected)
    assert is_python_win(tokens, target) == (expected == target)


@settings(max_examples=300)
@given(st.text(max_size=20) | st.text(string.printable, max_size=30), st.text(ALPHABET, max_size=10))
def test_no_text_raises_an_error_and_no_other_character_has_a_meaning(text: str, language: str) -> None:
    for whole in (text, language + text, text + language):
        value = python_value(whole)
        assert set(whole) <= set(ALPHABET) or value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8*3", 24),
        ("8/(3-8/3)", 23.99999999999999),
        ("48/2", 24.0),
        ("  2 * 3  ", 6),
        ("24", 24),
        ("2**3", 8),
        ("2**3**2", 512),
        ("(2**3)**2", 64),
        ("-2**2", -4),
        ("2**-1", 0.5),
        ("-2**-2", -0.25),
        ("2**-+-2", 4),
        ("2**-2**2", 0.0625),
        ("2*-3**2*2", -36),
        ("7//2", 3),
        ("-7//2", -4),
        ("7//2*2", 6),
        ("7/2//1", 3.0),
        ("3--2", 5),
        ("+-+3", -3),
        ("2 - - 2", 4),
        ("0", 0),
        ("00", 0),
        ("(((7)))", 7),
        ("2-3-4", -5),
        ("0-0/1", 0.0),
        ("-(0/1)", -0.0),
        ("1**9**99", 1),
        ("1**(9**1000)", 1),
        ("(0-1)**(9**1000)", -1),
        ("(0-1)**(10**1000)", 1),
        ("0**(10**1000)", 0),
        ("0**0", 1),
        ("(0-4)**(1/2)", (-4) ** 0.5),
        (f"2**{MAX_BITS - 1}//2**{MAX_BITS - 3}", 4),
        ("-" * (MAX_CHARACTERS - 1) + "1", -1 if MAX_CHARACTERS % 2 == 0 else 1),
        ("(" * 90 + "1" + ")" * 90, 1),
        ("9" * MAX_CHARACTERS, 10**MAX_CHARACTERS - 1),
    ],
)
def test_values_worked_by_hand(text: str, value: object) -> None:
    assert is_same(python_value(text), value)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "()", "(())", "()*3", "3*()", "()+()", "2()", "2(3)", "(2)(3)", "2 (3)", "()(3)", "(2)3"),
        *("2 4", "2* *3", "7/ /2", "2***3", "7///2", "*2", "/2", "2*", "2-", "(2", "2)", ")2(", "(2))", "((2)"),
        *("007", "01", "0 0", "00 7", "1/0", "1//0", "1/(2-2)", "0**-1", "1/(1/(1-1))"),
        *("9**9**9", "9**9**9**9**9", "(9**9**9)*0", "10**400/1", "2.5", "1e5", "1_0", "x", "2%3", "2@3", "~2"),
        *("1,2", "1<2", "1==1", "2\n", "\n2", "2\t", "\t2", "2\x00", "2#3", "\u0663", "2²", "1j", "0x1", "[2]", "2;3"),
        *(f"2**{MAX_BITS}", f"(0-2)**{MAX_BITS}", "(10/1)**309", "(0-8)**(1/3)//1", "2" * 120 + "**60"),
        *(
            "1" * (MAX_CHARACTERS + 1),
            " " * MAX_CHARACTERS + "1",
            "(" * MAX_CHARACTERS,
            "-" * MAX_CHARACTERS,
            "9" * 10**6,
        ),
        *("9**9**9*" * 20 + "1", "9**1292*" * 24 + "1", "(" * 60 + "9" + "**9)" * 30),
    ],
    ids=lambda text: repr(text[:24]),
)
def test_texts_without_a_value(text: str) -> None:
    assert python_value(text) is None


def test_a_product_that_grows_too_large_has_no_value() -> None:
    half = f"2**{MAX_BITS // 2}"
    assert python_value(f"{half}*{half}") is None
    assert python_value(f"{half}*{half}//{half}") is None
    assert python_value(f"{half}*({half}//2)//{half}") == 2 ** (MAX_BITS // 2 - 1)


@pytest.mark.parametrize(
    ("tokens", "target", "expected"),
    [
        (["8", "*", "3"], 24, True),
        (["8", "*", "3"], 25, False),
        (["2", "4"], 24, True),
        (["2", " ", "4"], 24, False),
        ([" ", "2", "4", " "], 24, True),
        (["8", "*", " ", "3"], 24, True),
        (["2", "*", "*", "3"], 8, True),
        (["2", "*", " ", "*", "3"], 8, False),
        (["10", "/", "/", "4"], 2, True),
        (["4", "8", "/", "2"], 24, True),
        (["8", "/", "(", "3", "-", "8", "/", "3", ")"], 24, False),
        (["5", "*", "(", "5", "-", "1", "/", "5", ")"], 24, True),
        ([], 0, False),
        (["="], 24, False),
        (["1"] * (MAX_CHARACTERS + 1), 1, False),
        ([""] * 10**5, 0, False),
    ],
)
def test_wins_as_python_would_see_them(tokens: list[str], target: int, expected: bool) -> None:
    assert is_python_win(tokens, target) is expected
