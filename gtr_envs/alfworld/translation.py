"""A game's PDDL problem as the planner's library wants it, translated once and kept on disk.

Translating takes a third of a second and is the same for the same texts, so what comes of it lies in a folder that all
processes share: a file for each problem, written beside its name and moved there, so that it is whole or absent. A file
that cannot be read is made anew. When the folder grows too large, what was not used for longest goes first.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gtr_envs.alfworld.games import cache_folder
from gtr_envs.errors import GameError
from gtr_envs.storage import prune, write_atomic

FORMAT = 2
LARGEST_CACHE = 512 * 1024 * 1024  # bytes
_PRUNE_EVERY = 64  # writes
# The task that the planner's translator writes instead of one that is decided before the first command.
_DUMMY = "Atom dummy(val1)"
_translating = threading.Lock()
_writes = 0

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Translation:
    """A problem, translated.

    Attributes:
        sas: the planning task in the library's own format.
        parameters: for each action its parameters' names and types.
        types: each type with those above it.
        objects: each object with its type.
        facts: what holds at the start and never changes: predicate and arguments.
    """

    sas: str
    parameters: dict[str, list[list[str]]]
    types: list[tuple[str, list[str]]]
    objects: list[tuple[str, str]]
    facts: list[tuple[str, list[str]]]


def translation_of(domain: str, problem: str) -> Translation:
    """The translation of a problem, from the folder or made now.

    Args:
        domain: the text of the PDDL domain.
        problem: the text of the PDDL problem.

    Raises:
        GameError: if there is nothing to play for, the goal being out of reach or reached.
    """
    path = cache_folder() / "translations" / f"{_key(domain, problem)}.z"
    found = _read(path)
    if found is None:
        found = translate(domain, problem)
        _write(path, found)
    return found


def translate(domain: str, problem: str) -> Translation:
    """Translate a problem, without looking anywhere.

    Raises:
        GameError: if there is nothing to play for, the goal being out of reach or reached.
    """
    import fast_downward

    with _translating, _argv_restored():
        task, sas = fast_downward.pddl2sas(domain, problem)
    if _DUMMY in sas:
        raise GameError("its goal is out of reach, or reached from the start, as the planner's translator found")
    facts = [fact for fact in map(_fact, task.init) if fact is not None]
    return Translation(
        sas,
        {action.name: [[part.name, part.type_name] for part in action.parameters] for action in task.actions},
        [(kind.name, list(kind.supertype_names)) for kind in task.types],
        [(thing.name, thing.type_name) for thing in task.objects],
        facts,
    )


def _fact(atom: Any) -> tuple[str, list[str]] | None:
    """A fact of the start as (predicate, arguments), None for what is bookkeeping of the planner."""
    from fast_downward.translate import pddl

    if isinstance(atom, pddl.conditions.Atom):
        return None if atom.predicate == "=" else (atom.predicate, list(atom.args))
    name = str(atom.expression.value)
    if atom.fluent.symbol == "total-cost" or name.isdigit():  # distances
        return None
    return name, list(atom.fluent.args)


@contextmanager
def _argv_restored() -> Iterator[None]:
    """The translator sets the program's arguments; put them back."""
    before = sys.argv
    try:
        yield
    finally:
        sys.argv = before


@lru_cache(maxsize=1)
def _version() -> str:
    return f"{FORMAT} {version('fast-downward-textworld')}"


def _key(domain: str, problem: str) -> str:
    return hashlib.sha256("\0".join((_version(), domain, problem)).encode()).hexdigest()[:40]


def _packed(translation: Translation) -> bytes:
    """The content of a file: a checksum in hexadecimal digits, and what it is of."""
    said = json.dumps(asdict(translation)).encode()
    return zlib.compress(_checksum(said) + said, 6)


def _checksum(said: bytes) -> bytes:
    return hashlib.sha256(said).hexdigest().encode()


def _read(path: Path) -> Translation | None:
    """What a file holds, if it is just as it was written: the planner's library crashes on half a task."""
    try:
        whole = zlib.decompress(path.read_bytes())
        digits = len(_checksum(b""))
        if whole[:digits] != _checksum(whole[digits:]):
            return None
        found = Translation(**json.loads(whole[digits:]))
    except (OSError, ValueError, TypeError, zlib.error):
        return None
    with suppress(OSError):  # who may read it may not be allowed to say so
        os.utime(path)  # used now
    return found


def _write(path: Path, translation: Translation) -> None:
    global _writes
    try:
        write_atomic(path, _packed(translation))
    except OSError:
        return  # a full or read-only disk costs time, not the game
    _writes += 1
    if _writes % _PRUNE_EVERY == 1:
        prune(path.parent, LARGEST_CACHE)
