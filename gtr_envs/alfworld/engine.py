"""The ALFWorld engine: textworld's `PddlEnv` with alfworld's names, made fast enough to play in.

What happens in a game is decided where it always was, in the planner's library and by the game's own rules. What is
different is that nothing is worked out twice: the translation of a game (`translation`), its grammar (`grammar`), the
command of an action. As installed, the engine takes more than a second to reset and some 45 ms for a step; the
tests compare whole transcripts with it.

This relies on the insides of textworld and is written for the versions in `KNOWN`; with others it refuses to start.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gtr_envs.alfworld.damaged import playable
from gtr_envs.alfworld.games import GAME_TEXTS, read_game
from gtr_envs.alfworld.loaded_game import LoadedGame, context_of, make_state
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
        self._game: LoadedGame | None = None
        self._name = ""
        self._state: Any = None
        self._actions: dict[str, Any] = {}

    def reset(self, game: str | Path | Mapping[str, Any], name: str = "") -> EngineState:
        """Begin a game.

        Args:
            game: the path of a game.tw-pddl file, or its content.
            name: what errors call it; its path by default.

        Raises:
            GameError: if there is no such file, it is no game, or there is nothing to play for. No game is begun then.
            ActionError: after `close`.
        """
        before, self._game, self._state, self._actions = self._game, None, None, {}
        content = read_content(game)
        if self._library is None:
            raise ActionError("this engine is closed: make another one")
        self._name = name or ("" if isinstance(game, Mapping) else str(game))
        with self._whole_or_none():
            self._game = before if before is not None and before.content is content else LoadedGame(content)
            self._state = make_state(self._library, self._game)
            said = self._say("#intro#", {}, {})
            if said.won:
                raise GameError("its goal is reached from the start")
        return said

    def step(self, command: str) -> EngineState:
        """Do what a command says; one that is not admissible changes nothing, and "Nothing happens.".

        Raises:
            ActionError: before the first reset, and after one that failed.
            GameError: if the game's texts do not say what comes of it. The game is over then.
        """
        if self._game is None:
            raise ActionError(f"command {command!r} before a game was begun: call reset() first")
        action = self._actions.get(command.strip())
        with self._whole_or_none():
            if action is None:
                return self._gather(NOTHING_HAPPENS)
            self._state.apply(action)
            infos = self._game.entity_infos
            variables = {placeholder.name: infos[var.name] for placeholder, var in action.mapping.items()}
            return self._say(action.feedback_rule, variables, action.mapping)

    @contextmanager
    def _whole_or_none(self) -> Iterator[None]:
        """Let an error end the game: a state that does not fit the library's would crash the process."""
        try:
            with playable(self._name):
                yield
        except BaseException:
            self._game = self._state = None
            raise

    def close(self) -> None:
        """Give the planner's library back, for another engine."""
        self._give_back()
        self._library = self._game = self._state = None

    def _say(self, rule: str, variables: Mapping[str, Any], mapping: Mapping[Any, Any]) -> EngineState:
        assert self._game is not None
        return self._gather(self._game.grammar.derive(rule, context_of(self._game, self._state, variables, mapping)))

    def _gather(self, feedback: str) -> EngineState:
        game = self._game
        assert game is not None
        self._actions = {}
        for action in self._state.all_applicable_actions():
            self._actions.setdefault(game.command_of(action, self._state), action)
        facts = sorted(map(game.readable, self._state.facts), key=str)
        commands = tuple(sorted(self._actions))
        return EngineState(feedback, tuple(facts), commands, bool(self._state.check_goal()), game.entity_infos)


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
