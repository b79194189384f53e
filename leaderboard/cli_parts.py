"""What the commands of ``gtr-bench`` share: the terminal, remarks, and whether optional libraries are there."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDEST = 120
"""Columns up to which a table may pass the terminal's edge, rather than be cut."""

EXTRAS = {"scipy": "eval", "jinja2": "eval"}


def require(*libraries: str) -> None:
    """Make sure that optional libraries are installed, before any work is done.

    Raises:
        MissingExtraError: names the extra to install.
    """
    from gtr_envs.errors import MissingExtraError

    for library in libraries:
        if find_spec(library) is None:
            extra = EXTRAS.get(library, "agent")
            raise MissingExtraError(
                f"this command needs {library}, which is not installed: pip install 'gtr-bench[{extra}]'"
            )


def console(stderr: bool = False) -> Console:
    """The terminal."""
    from rich.console import Console

    return Console(stderr=stderr)


def print_table(terminal: Console, table: Table) -> None:
    """Print a table with all of its figures: in a narrow terminal its lines run over, where rich would cut them off."""
    from rich.console import Console

    wide = Console(file=terminal.file, width=WIDEST)
    natural = wide.measure(table).maximum
    Console(file=terminal.file, width=max(terminal.width, natural)).print(table)


def quiet_libraries() -> None:
    """Keep the progress bars and deprecation warnings of transformers out of ours."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def note(text: str) -> None:
    """A remark for people, on stderr."""
    print(f"note: {text}", file=sys.stderr)
