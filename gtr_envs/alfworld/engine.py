"""The ALFWorld engine: textworld's `PddlEnv` with alfworld's names, made fast enough to play in.

What happens in a game is decided where it always was, in the planner's library and by the game's own rules. What is
different is that nothing is worked out twice: the translation of a game (`translation`), its grammar (`grammar`), the
command of an action. As installed, the engine takes more than a second to reset and some 45 ms for a step; the
tests compare whole transcripts with it.

This relies on the insides of textworld and is written for the versions in `KNOWN`; with others it refuses to start.
"""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gtr_envs.alfworld.games import GAME_TEXTS, read_game
from gtr_envs.alfworld.grammar import parse_grammar
from gtr_envs.alfworld.translation import Translation, translation_of
from gtr_envs.errors import ActionError, GameError, MissingExtraError

KNOWN = {"alfworld": ("0.4.2",), "textworld": ("1.7.0",), "fast-downward-textworld": ("20.6.4",)}
NOTHING_HAPPENS = "Nothing happens."


@dataclass(frozen=True)
class EngineState:
    """What the engine says after a reset or a command.

    Attributes:
        feedback: its text.
        facts: all that holds, as textworld's propositions with the names that the texts use, sorted.
        admissible_commands: the commands that do something, sorted, each once.
        won: whether the goal is reached.
        entity_infos: textworld's records by raw id; an id holds coordinates, a record the name in the texts.
    """

    feedback: str
    facts: tuple[Any, ...]
    admissible_commands: tuple[str, ...]
    won: bool
    entity_infos: Mapping[str, Any]


def check_versions() -> None:
    """Make sure that the engine's packages are there, in versions that this module was written for.

    Raises:
        MissingExtraError: names what is missing or another version, and what to run.
    """
    for package, known in KNOWN.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise MissingExtraError(f"ALFWorld needs {package}: pip install 'gtr-bench[alfworld]'") from None
        if found not in known:
            wanted = f"{package}=={known[-1]}"
            raise MissingExtraError(f"{package} {found} is not one this engine was tested with: pip install '{wanted}'")


_spare_libraries: list[Any] = []


def _borrow_library() -> Any:
    """A copy of the planner's library that no other engine uses.

    One that is given back is kept: a process that unloads it may crash at the next that it loads.
    """
    import fast_downward

    return _spare_libraries.pop() if _spare_libraries else fast_downward.load_lib()


class Engine:
    """Plays one game at a time. Each engine has the planner's library to itself, about 6 MB."""

    def __init__(self) -> None:
        check_versions()
        self._library = _borrow_library()
        self._give_back = weakref.finalize(self, _spare_libraries.append, self._library)
        self._game: _Game | None = None
        self._state: Any = None
        self._actions: dict[str, Any] = {}

    def reset(self, game: str | Path | Mapping[str, Any]) -> EngineState:
        """Begin a game.

        Args:
            game: the path of a game.tw-pddl file, or its content.

        Raises:
            GameError: if there is no such file or it is no game.
        ActionError: after `close`.
        """
        content = read_content(game)
        if self._library is None:
            raise ActionError("this engine is closed: make another one")
        if self._game is None or self._game.content is not content:
            self._game = _Game(content)
        self._state = _make_state(self._library, self._game)
        return self._say("#intro#", {}, {})

    def step(self, command: str) -> EngineState:
        """Do what a command says; one that is not admissible changes nothing, and "Nothing happens.".

        Raises:
            ActionError: before the first reset.
        """
        if self._game is None:
            raise ActionError(f"command {command!r} before a game was begun: call reset() first")
        action = self._actions.get(command.strip())
        if action is None:
            return self._gather(NOTHING_HAPPENS)
        self._state.apply(action)
        infos = self._game.entity_infos
        variables = {placeholder.name: infos[var.name] for placeholder, var in action.mapping.items()}
        return self._say(action.feedback_rule, variables, action.mapping)

    def close(self) -> None:
        """Give the planner's library back, for another engine."""
        self._give_back()
        self._library = self._game = self._state = None

    def _say(self, rule: str, variables: Mapping[str, Any], mapping: Mapping[Any, Any]) -> EngineState:
        assert self._game is not None
        return self._gather(self._game.grammar.derive(rule, _context(self._game, self._state, variables, mapping)))

    def _gather(self, feedback: str) -> EngineState:
        game = self._game
        assert game is not None
        self._actions = {}
        for action in self._state.all_applicable_actions():
            self._actions.setdefault(game.command_of(action, self._state), action)
        facts = sorted(map(game.readable, self._state.facts), key=str)
        commands = tuple(sorted(self._actions))
        return EngineState(feedback, tuple(facts), commands, bool(self._state.check_goal()), game.entity_infos)


class _Game:
    """What stays the same while a game is played."""

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
            context = _context(self, state, variables, action.mapping)
            self._commands[key] = self.grammar.derive(self.templates[action.name].template, context)
        return self._commands[key]

    def readable(self, fact: Any) -> Any:
        """A fact with the names of the texts, without the spaces that some end in."""
        from textworld.logic import Proposition, Variable

        if fact not in self._readable:
            names = [(self.entity_infos[part.name].name.strip(), part.type) for part in fact.arguments]
            self._readable[fact] = Proposition(fact.name, [Variable(name, kind) for name, kind in names])
        return self._readable[fact]


def _context(game: _Game, state: Any, variables: Mapping[str, Any], mapping: Mapping[Any, Any]) -> dict[str, Any]:
    return {"state": state, "variables": variables, "mapping": mapping, "entity_infos": game.entity_infos}


def read_content(game: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of a game's file, checked for what a game needs.

    Raises:
        GameError: names the file and what is wrong with it.
    """
    if not isinstance(game, Mapping):
        return read_game(game)
    missing = [key for key in GAME_TEXTS if not isinstance(game.get(key), str)]
    if missing:
        raise GameError(f"this is no game, it has no text under {', '.join(missing)}")
    return game


def _make_state(library: Any, game: _Game) -> Any:
    """textworld's state of a game at its start, made from the translation instead of the PDDL texts."""
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
    from alfworld.agents.utils.misc import Demangler
    from textworld.generator.game import EntityInfo

    infos = {part.name: EntityInfo(part.name, part.type) for fact in facts for part in fact.arguments}
    names = Demangler(game_infos=infos, shuffle=False)
    for info in infos.values():
        info.definite, info.indefinite = "the", "a"
        info.name = names.demangle_alfred_name(info.id)
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
