"""What went wrong with a game's texts, as an error that names the game and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gtr_envs.errors import GameError, GtrError

GENERATED_GAMES = "generated/"  # what the ids of generated games begin with
_MEND = "leave it out, or delete it and run alfworld-download"
_MEND_GENERATED = "run pip install --force-reinstall alfworld==0.4.2, whose files it is made of"
_LONGEST = 300


@contextmanager
def playable(name: str) -> Iterator[None]:
    """While a game's texts are worked with: whatever they cause is a `GameError` with the game's name and the mend.

    The parsers of textworld and of the planner say what is wrong with a text in errors of many kinds, from `KeyError`
    and `StopIteration` to errors of their own.

    Args:
        name: the game's path, or how it was generated; may be empty.

    Raises:
        GameError: for a game that cannot be played.
    """
    try:
        yield
    except GameError as error:
        raise GameError(_message(name, str(error))) from error
    except (GtrError, ImportError, MemoryError, OSError):
        raise  # not the game's fault
    except (Exception, SystemExit) as error:
        raise GameError(_message(name, f"its texts are damaged ({type(error).__name__}: {error})")) from error


def _message(name: str, problem: str) -> str:
    mend = _MEND_GENERATED if name.startswith(GENERATED_GAMES) else _MEND
    problem = " ".join(problem.split())
    if len(problem) > _LONGEST:
        problem = problem[: _LONGEST - 3] + "..."
    return f"the game {name or 'that was given'} cannot be played, {problem}: {mend}"
