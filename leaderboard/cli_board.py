"""``gtr-bench leaderboard``: the table, the CSV and the site."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from leaderboard.cli_parts import console, note, print_table, require


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """While results are read, all that is made is kept; looking for garbage in it takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def leaderboard_command(
    results: Annotated[list[Path], typer.Argument(help="Folders of results, searched through.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the leaderboard here.")] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Write the pages into this folder: new, empty, or one that was written so before."),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--runs", help="Training runs: agents called like one get its learning curves. Repeatable."),
    ] = None,
    reported: Annotated[
        bool, typer.Option(help="Add the numbers that papers report, apart from the measured ones.")
    ] = True,
    episodes_per_agent: Annotated[
        int, typer.Option(min=0, max=100, help="Sample episodes of each agent in each environment.")
    ] = 4,
    replays: Annotated[
        bool, typer.Option("--replays", help="With --html: a page to step through for each sample episode, too.")
    ] = False,
) -> None:
    """Rank the evaluated agents: a table, the CSV, a folder of pages to look at."""
    require("scipy", "jinja2")
    from gtr_envs.errors import SettingError
    from leaderboard.site.build import write_site
    from leaderboard.site.files import check_folder
    from leaderboard.standings import standings, standings_tables
    from leaderboard.summary import find_results
    from leaderboard.table import finished_only, is_finished, write_csv

    if csv is not None and csv.is_dir():  # before minutes of reading and drawing
        raise SettingError(f"--csv {csv} is a folder; name a file, such as {csv / 'leaderboard.csv'}")
    if html is not None:
        check_folder(html)
    with _without_garbage_collection():
        found = find_results(results)
    for result in found:
        if not is_finished(result):
            note(
                f"{result.folder} is left out: {len(result.episodes)} of {result.meta.n_episodes} episodes are there; "
                "run the same gtr-bench eval again to finish it"
            )
    finished = finished_only(found)
    wrote = []
    if csv is not None:
        write_csv(csv, finished, reported)
        wrote.append(csv)
    if html is not None:
        page = write_site(
            html,
            finished,
            reported=reported,
            runs=runs or [],
            episodes_per_agent=episodes_per_agent,
            replays=replays,
            notice=note,
        )
        wrote.append(page)
    terminal = console()
    for table in standings_tables(standings(finished)):
        print_table(terminal, table)
    for path in wrote:
        print(f"wrote {path}")
