"""The named errors of the project. Each message says what was given, what is allowed and, where it helps, what to run.

Every class inherits from `GtrError`, so that one `except` catches them all, and from the standard class that it
resembles, so that code which knows nothing of this project still handles it.
"""

from __future__ import annotations


class GtrError(Exception):
    """Base class of every error that the project raises on purpose."""


class SettingError(GtrError, ValueError):
    """An unknown or out-of-range option, setting or preset."""


class HandError(GtrError, ValueError):
    """A hand of cards that cannot be dealt."""


class ActionError(GtrError, ValueError):
    """An action outside the action space."""


class UnknownEnvironmentError(GtrError, KeyError):
    """An environment id that is not registered."""

    def __str__(self) -> str:
        """The message, plain."""
        # KeyError shows the repr of its argument; a message for people must not come out in quotation marks.
        return Exception.__str__(self)


class CheckpointError(GtrError, OSError):
    """A checkpoint that is missing, damaged or made for something else."""


class OutputExistsError(GtrError, FileExistsError):
    """An output folder or file that already holds something else."""


class OutputError(GtrError, OSError):
    """An output file that cannot be written: a full disk, a folder that may not be written to."""


class RunBusyError(OutputExistsError, RuntimeError):
    """An output folder into which another process is writing."""


class ResultError(GtrError, ValueError):
    """A results file that is damaged or inconsistent."""


class MissingExtraError(GtrError, ImportError):
    """An optional dependency that is not installed."""


class GameError(GtrError, OSError):
    """A game that is missing or damaged, or that cannot be played."""


class EndpointError(GtrError, ConnectionError):
    """A chat endpoint that does not answer, or that refuses."""


class CostCapError(GtrError, RuntimeError):
    """As much was paid for an endpoint's replies as the settings allow."""


class MissingReplyError(GtrError, LookupError):
    """A reply that is not in the cache, where no endpoint may be asked."""
