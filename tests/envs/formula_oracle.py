"""The value of a formula by Python's own grammar, which shares no code with the package."""

from __future__ import annotations

import ast
import operator
from collections.abc import Sequence
from fractions import Fraction

OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def exact_value(tokens: Sequence[str]) -> Fraction | None:
    """Python's own grammar for the shape of the formula, Fractions for its value."""

    def walk(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](walk(node.left), walk(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return Fraction(node.value)
        raise SyntaxError

    try:
        return walk(ast.parse(" ".join(tokens), mode="eval").body)
    except (SyntaxError, ZeroDivisionError):
        return None
