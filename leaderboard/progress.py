"""Progress for people: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.evaluate import Progress

LOG_LINES = 5
"""How many lines an evaluation writes where there is no terminal."""


def _standing(progress: Progress) -> str:
    rate = f"{100 * progress.successes / progress.done:.1f}%" if progress.done else "–"
    return f"success so far {rate}"


@contextmanager
def evaluation_progress(console: Console, what: str) -> Iterator[Callable[[Progress], None]]:
    """Show an evaluation while it runs.

    Args:
        console: where to; a bar if it is a terminal, else about :data:`LOG_LINES` lines.
        what: what is being evaluated.

    Yields:
        a function to call with each :class:`~leaderboard.evaluate.Progress`.
    """
    if not console.is_terminal:
        seen = [0]

        def log(progress: Progress) -> None:
            part = progress.done * LOG_LINES // progress.total
            if part > seen[0]:
                seen[0] = part
                line = f"{what}: {progress.done} of {progress.total} episodes, {_standing(progress)}"
                console.print(line, highlight=False, markup=False, soft_wrap=True)

        yield log
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, TextColumn("{task.fields[news]}", markup=False), console=console) as bars:
        bar = bars.add_task(what, total=None, news="")
        yield lambda progress: bars.update(bar, completed=progress.done, total=progress.total, news=_standing(progress))
