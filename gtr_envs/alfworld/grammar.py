"""The texts of a game: its grammar, read once, and what it says in a state.

The language is textworld's: a rule's text holds references `#rule#`, values `{o.name}`, and values for all answers to
a query, `[{o.name | inreceptacle(o:object, r:receptacle)}]`. What is said is what `textworld.envs.pddl.textgen` says,
with two departures. The answers to a query are put in the order of their names, where textworld leaves them in that of
a hash. And a value is read by a parser for the few forms that games use, where textworld calls `eval` on the game's
text: a game file is data, and must not be able to run anything. (It is also why this plays on Python 3.13.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from gtr_envs.errors import GameError

Context = Mapping[str, Any]  # as textworld has it: state, facts, variables, mapping, entity_infos

_TASK = re.compile(r'("task":\s*\[\s*\{\s*"rhs":\s*")([^"\\#{}\[\]|]*)("\s*\}\s*\])')
_PLACEHOLDER = "UNKNOWN TASK"
_TOKEN = re.compile(r"""\s*(?:(?P<sign>\+|or\b)|(?P<value>[a-z_]\w*(?:\.[a-z]+)?)|(?P<text>'[^']*'|"[^"]*"))\s*""")
_SHOWN = ("name", "id", "definite", "indefinite", "type")


class Grammar:
    """What a game can say.

    Args:
        rules: for each name its alternatives, (condition, symbols) each, as textworld parsed them.
        task: the sentence that stands in the rule "task" instead of its own, if any.
    """

    def __init__(self, rules: Mapping[str, list[tuple[str, list[Any]]]], task: str | None = None) -> None:
        self._rules = rules
        self._task = task

    def derive(self, start: str, context: Context) -> str:
        """The text of a start such as "#look.feedback#" in a state.

        Raises:
            GameError: if the grammar has no such rule, or a value that is no value.
        """
        return "".join(self._say(symbol, context) for symbol in _symbols(start))

    def _say(self, symbol: Any, context: Context) -> str:
        kind = type(symbol).__name__
        if kind == "TerminalSymbol":
            return str(symbol.symbol)
        if kind == "NonterminalSymbol":
            return self._say_rule(str(symbol.symbol), context)
        if kind == "EvalSymbol":
            return value_of(symbol.expression, context["variables"])
        if kind == "ListSymbol":
            return self._say_list(symbol.symbol, context)
        return "".join(self._answers(symbol, context))

    def _say_rule(self, name: str, context: Context) -> str:
        if name == "task" and self._task is not None:
            return self._task
        for condition, symbols in self._rules.get(name, ()):
            if not condition or any(True for _ in _matches(condition, context)):
                return "".join(self._say(symbol, context) for symbol in symbols)
        raise GameError(f"the game's grammar has no rule {name!r} that fits")

    def _answers(self, symbol: Any, context: Context) -> list[str]:
        """What a value says for each answer to its query."""
        contexts: Iterable[Context] = [context] if not symbol.given else answers(symbol.given, context)
        return [self._say(symbol.expression, each) for each in contexts]

    def _say_list(self, symbol: Any, context: Context) -> str:
        said = self._answers(symbol, context)
        if not said:
            return self._say_rule("list_empty", context)
        if len(said) == 1:
            return said[0]
        separator, last = (self._say_rule(name, context) for name in ("list_separator", "list_last_separator"))
        return separator.join(said[:-1]) + last + said[-1]


def parse_grammar(text: str) -> tuple[dict[str, Any], Grammar]:
    """The actions and the grammar of a game's text.

    Returns:
        textworld's actions by name, and the grammar.
    """
    match = _TASK.search(text)
    if match is None:
        actions, rules = _parse(text)
        return actions, Grammar(rules)
    # Games differ in this sentence alone; what is left is read once for all of them.
    actions, rules = _parse(text[: match.start(2)] + _PLACEHOLDER + text[match.end(2) :])
    return actions, Grammar(rules, match.group(2))


@lru_cache(maxsize=16)
def _parse(text: str) -> tuple[dict[str, Any], dict[str, list[tuple[str, list[Any]]]]]:
    from textworld.envs.pddl.logic import GameLogic

    logic = GameLogic(domain="", grammar=text)
    rules = {name: [(rule.condition, rule.rhs) for rule in found] for name, found in logic.grammar._rules.items()}
    return logic.actions, rules


@lru_cache(maxsize=4096)
def _symbols(start: str) -> tuple[Any, ...]:
    from textworld.envs.pddl import textgen

    return tuple(textgen._parse_and_convert(start, rule_name="symbols"))


@lru_cache(maxsize=4096)
def _query(expression: str) -> Any:
    from textworld.logic import Rule

    return Rule.parse_conjunctive_query(expression)


def _matches(expression: str, context: Context) -> Iterable[Any]:
    return context["state"].all_assignments(_query(expression), context["mapping"])


def answers(expression: str, context: Context) -> list[Context]:
    """The context of each answer to a query, in the order of the names of what it found."""
    infos = context["entity_infos"]
    found = [dict(mapping) for mapping in _matches(expression, context)]
    found.sort(key=lambda mapping: sorted(_rank(key, infos[value.name].name) for key, value in mapping.items()))
    return [
        {
            **context,
            "variables": {**context["variables"], **{key.name: infos[value.name] for key, value in mapping.items()}},
            "mapping": {**context["mapping"], **mapping},
        }
        for mapping in found
    ]


def _rank(placeholder: Any, name: str) -> tuple[bool, str, int]:
    """Where something stands among answers: by its name as people count, drawer 2 before drawer 10, places last."""
    kind, _, number = name.strip().rpartition(" ")
    is_place = placeholder.type in ("location", "agent")
    return (is_place, kind, int(number)) if number.isdigit() else (is_place, name, 0)


def value_of(expression: str, variables: Mapping[str, Any]) -> str:
    """A value such as "o.indefinite + ' ' + o.name" or "r.name or r.id".

    Args:
        expression: names of variables, with an attribute or without, and texts in quotes, joined by + or "or".
        variables: what the names stand for.

    Raises:
        GameError: for anything else.
    """
    parts, signs = _read_value(expression)
    said = [part[1:-1] if part[0] in "'\"" else _look_up(part, variables, expression) for part in parts]
    if "or" in signs:
        return next((text for text in said if text), "")
    return "".join(said)


@lru_cache(maxsize=4096)
def _read_value(expression: str) -> tuple[list[str], list[str]]:
    parts: list[str] = []
    signs: list[str] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        is_sign = match is not None and match.lastgroup == "sign"
        if match is None or is_sign != (len(parts) > len(signs)):
            raise GameError(f"the game's grammar has {expression!r}, which is no value this engine knows")
        (signs if is_sign else parts).append(match[match.lastgroup or 0])
        at = match.end()
    if len(parts) != len(signs) + 1 or len(set(signs)) > 1:
        raise GameError(f"the game's grammar has {expression!r}, which is no value this engine knows")
    return parts, signs


def _look_up(part: str, variables: Mapping[str, Any], expression: str) -> str:
    name, _, attribute = part.partition(".")
    if name not in variables or (attribute and attribute not in _SHOWN):
        raise GameError(
            f"the game's grammar has {expression!r}; known are {', '.join(sorted(variables))} and their names"
        )
    found = variables[name]
    return str(getattr(found, attribute) or "") if attribute else str(found)
