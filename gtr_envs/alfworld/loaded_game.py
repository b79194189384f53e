"""A game as textworld plays it: its translation, its grammar, the names in its texts, and its state at the start."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gtr_envs.alfworld.grammar import parse_grammar
from gtr_envs.alfworld.names import names_of
from gtr_envs.alfworld.translation import Translation, translation_of


class LoadedGame:
    """What stays the same while a game is played.

    Args:
        content: the game's texts, as `read_game` gives them.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self.translation: Translation = translation_of(content["pddl_domain"], content["pddl_problem"])
        self.templates, self.grammar = parse_grammar(content["grammar"])
        self.name2type: dict[str, str] = dict(self.translation.objects)
        self.entity_infos: dict[str, Any] = {}
        self._commands: dict[Any, str] = {}
        self._readable: dict[Any, Any] = {}

    def command_of(self, action: Any, state: Any) -> str:
        """The text of an action. What it names never changes in a game."""
        key = (action.name, tuple(action.mapping.values()))
        if key not in self._commands:
            variables = {placeholder.name: self.entity_infos[var.name] for placeholder, var in action.mapping.items()}
            context = context_of(self, state, variables, action.mapping)
            self._commands[key] = self.grammar.derive(self.templates[action.name].template, context)
        return self._commands[key]

    def readable(self, fact: Any) -> Any:
        """A fact with the names of the texts, without the spaces that some end in."""
        from textworld.logic import Proposition, Variable

        if fact not in self._readable:
            names = [(self.entity_infos[part.name].name.strip(), part.type) for part in fact.arguments]
            self._readable[fact] = Proposition(fact.name, [Variable(name, kind) for name, kind in names])
        return self._readable[fact]


def context_of(
    game: LoadedGame, state: Any, variables: Mapping[str, Any], mapping: Mapping[Any, Any]
) -> dict[str, Any]:
    """What the game's texts are said in."""
    return {"state": state, "variables": variables, "mapping": mapping, "entity_infos": game.entity_infos}


def make_state(library: Any, game: LoadedGame) -> Any:
    """textworld's state of a game at its start, made from the translation instead of the PDDL texts.

    Args:
        library: the planner's; what it played before is over, and its states must not be used any more.
        game: the game.
    """
    from textworld.envs.pddl.logic import Atom, PddlState
    from textworld.logic import Proposition, Type, TypeHierarchy, Variable

    logic = _Logic(game.templates, TypeHierarchy())
    for name, above in game.translation.types:
        with suppress(ValueError):  # known already, such as "object"
            logic.types.add(Type(name, above))
    state = PddlState.__new__(PddlState)
    state._facts, state._vars_by_type = defaultdict(set), defaultdict(set)
    state._vars_by_name, state._var_counts = {}, Counter()
    state._logic, state.downward_lib, state.name2type = logic, library, game.name2type
    state._actions = {
        name: _Parameters([_Parameter(*part) for part in parts]) for name, parts in game.translation.parameters.items()
    }
    library.load_sas(game.translation.sas.encode())
    state.add_facts(
        Proposition(name, [Variable(part, game.name2type[part]) for part in parts])
        for name, parts in game.translation.facts
    )
    atoms = (Atom * library.get_state_size())()
    library.get_state(atoms)
    state.add_facts(fact for fact in (atom.get_fact(game.name2type) for atom in atoms) if not fact.is_negation)
    if not game.entity_infos:
        game.entity_infos = _named(state.facts)
    return state


def _named(facts: Any) -> dict[str, Any]:
    """textworld's records of all that the facts speak of, by raw id, with the names that alfworld gives them."""
    from textworld.generator.game import EntityInfo

    infos = {part.name: EntityInfo(part.name, part.type) for fact in facts for part in fact.arguments}
    names = names_of(infos)
    for info in infos.values():
        info.definite, info.indefinite = "the", "a"
        info.name = names[info.id]
    return dict(sorted(infos.items()))


@dataclass(frozen=True)
class _Parameter:
    name: str
    type_name: str


@dataclass(frozen=True)
class _Parameters:
    parameters: list[_Parameter]


@dataclass(frozen=True)
class _Logic:
    """What textworld's state asks of a game's logic."""

    actions: Mapping[str, Any]
    types: Any
