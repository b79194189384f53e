"""``gtr-bench replay`` and ``gtr-bench validate``: look at a recorded episode, check recorded results."""

from __future__ import annotations

import json as json_module
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli_parts import console, note, print_table, require

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.summary import Result
    from leaderboard.validate import Checked

NOT_WHOLE = 1
"""The exit code of a replay without pictures, and of a submission with something wrong in it."""

MOST_FINDINGS = 20
"""Findings of one folder that are printed; --json has all."""


def replay_command(
    results: Annotated[Path, typer.Argument(help="An evaluation's folder, or one that contains some.")],
    episode: Annotated[
        int, typer.Option("--episode", "-e", help="Which episode, counted from 0; or the whole seed of one.")
    ] = 0,
    seed: Annotated[
        int | None, typer.Option(help="The evaluation seed, where the folder holds evaluations with several.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="The split, where the folder holds evaluations of several.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page to write; else replays/AGENT-ENVIRONMENT-SPLIT-seed-S-episode-N.html."),
    ] = None,
    gif: Annotated[Path | None, typer.Option("--gif", help="Write an animated GIF here, too.")] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Make a page of one episode: each turn's picture, prompt, thought, action and reward; it opens from disk.

    Pictures are not kept with results: the answers are played again. If that gives anything else than what was
    recorded, the page is without pictures and says why, and the exit code is 1.
    """
    require("scipy", "jinja2")
    from leaderboard.replay_gif import write_gif
    from leaderboard.replay_page import gather, write_replay

    _check_ending(out, ("html", "htm"), "--out")
    _check_ending(gif, ("gif",), "--gif")
    result = _one_result(results, seed, split)
    number = _place_of(result, episode)
    chosen = result.episodes[number[0]]
    shown = gather(result.folder, result.meta, chosen, number[1])
    page = out or default_page(result, number[1])
    write_replay(page, shown)
    for problem in shown.problems:
        note(problem)
    print(f"wrote {page}")
    if gif is not None:
        write_gif(gif, shown)
        print(f"wrote {gif}")
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    if shown.replayed is None:
        raise typer.Exit(NOT_WHOLE)


def default_page(result: Result, number: int) -> Path:
    """Where a replay goes that is given no name: below the current folder, beside no results."""
    from leaderboard.texts import file_name

    meta = result.meta  # of results made elsewhere: names there may be anything
    return Path("replays") / f"{file_name(f'{meta.agent}-{meta.env_id}-{result.folder.name}')}-episode-{number}.html"


def _check_ending(path: Path | None, endings: Sequence[str], option: str) -> None:
    """Refuse a name that may be something else's, such as that of results."""
    from gtr_envs.errors import SettingError

    if path is not None and path.suffix.lower().removeprefix(".") not in endings:
        raise SettingError(f"{option} {path}: expected a name that ends in .{endings[0]}")


def _one_result(path: Path, seed: int | None, split: str | None) -> Result:
    """The evaluation that is meant.

    Raises:
        ResultError: there is none, or there are several.
    """
    from gtr_envs.errors import ResultError
    from leaderboard.summary import find_results

    found = find_results([path])
    for name, wanted in (("seed", seed), ("split", split)):
        there = sorted({getattr(result.meta, name) for result in found})
        if wanted is not None and wanted not in there:
            raise ResultError(f"{path} has no evaluation with {name} {wanted}; there are {', '.join(map(str, there))}")
        found = [result for result in found if wanted in (None, getattr(result.meta, name))]
    if len(found) > 1:
        names = ", ".join(str(result.folder) for result in found[:4]) + (", ..." if len(found) > 4 else "")
        raise ResultError(
            f"{path} holds {len(found)} evaluations; say --split or --seed, or name the folder of one: {names}"
        )
    return found[0]


def _place_of(result: Result, episode: int) -> tuple[int, int]:
    """Where an episode stands in the list of those there are, and its number in the evaluation.

    Raises:
        ResultError: there is no such episode.
    """
    from gtr_envs.episode import episode_seeds
    from gtr_envs.errors import ResultError

    first = episode_seeds(result.meta.seed, 1)[0]
    wanted = episode if episode >= first else first + episode
    for place, played in enumerate(result.episodes):
        if played.seed == wanted:
            return place, wanted - first
    there = f"0 to {result.meta.n_episodes - 1}, of which {len(result.episodes)} are there"
    raise ResultError(f"{result.folder} has no episode {episode}; it has {there}")


def validate_command(
    results: Annotated[list[Path], typer.Argument(help="Folders of results, searched through.")],
    sample: Annotated[
        int | None, typer.Option(min=1, help="Play only so many episodes of each evaluation again.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes that play; else one for each core.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings for machines.")] = False,
) -> None:
    """Check results as a submission: complete, seeds as declared, scores as the answers earn them.

    Every episode is played again with its recorded answers. The exit code is 0 only if nothing is wrong.
    """
    require("scipy")
    from leaderboard.validate import report_json, validate

    terminal = console(stderr=json)
    with _progress(terminal) as report:
        checked = validate(results, sample=sample, jobs=jobs or os.cpu_count() or 1, on_progress=report)
    if json:
        print(json_module.dumps(report_json(checked), indent=2))
    else:
        _print_checked(terminal, checked)
    if any(result.errors for result in checked):
        raise typer.Exit(NOT_WHOLE)


@contextmanager
def _progress(terminal: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar while episodes are played again; nothing where there is no terminal."""
    if not terminal.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal, transient=True) as bars:
        bar = bars.add_task("episodes played again", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _print_checked(terminal: Console, checked: Sequence[Checked]) -> None:
    from rich.table import Table
    from rich.text import Text

    from leaderboard.validate import UNPROVEN

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("agent", "environment", "split", "seed", "episodes", "replayed", ""):
        table.add_column(title, justify="right" if title in ("episodes", "replayed", "seed") else "left")
    for result in checked:
        meta, errors = result.meta, len(result.errors)
        names = (result.folder.name, "", "", "")
        if meta is not None:
            rules = "" if meta.rules == "strict" else f", {meta.rules}"
            names = (meta.agent, meta.env_id, f"{meta.split}{rules}", str(meta.seed))
        verdict = f"{errors} wrong" if errors else "ok"
        cells = [*names, str(result.n_episodes), str(result.n_replayed), verdict]
        table.add_row(*(Text(cell, style="red" if errors and cell == verdict else "") for cell in cells))
    print_table(terminal, table)

    def say(text: str) -> None:
        terminal.print(text, markup=False, highlight=False, soft_wrap=True)

    for kind, found in (("Wrong", [r.errors for r in checked]), ("Worth knowing", [r.warnings for r in checked])):
        if any(found):
            say(f"\n{kind}:")
        for findings in found:
            for finding in findings[:MOST_FINDINGS]:
                say(f"  {finding}")
            if len(findings) > MOST_FINDINGS:
                say(f"  ... and {len(findings) - MOST_FINDINGS} more in {findings[0].file}; --json lists all")
    say("\nNo check of files can show:")
    for what in UNPROVEN:
        say(f"  {what}")
    n_wrong = sum(bool(result.errors) for result in checked)
    say(f"\n{n_wrong} of {len(checked)} results have something wrong" if n_wrong else f"\n{len(checked)} results ok")
