"""``gtr-bench compare A B``: two agents on the episodes that both played."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leaderboard.cli_parts import console, note, print_table, require

if TYPE_CHECKING:
    from rich.table import Table

    from leaderboard.compare import Comparison, Difference
    from leaderboard.summary import Result

First = Annotated[str, typer.Argument(metavar="A", help="A folder of one agent's results, or its name in --results.")]
Second = Annotated[str, typer.Argument(metavar="B", help="The other's, likewise.")]


def compare_command(
    first: First,
    second: Second,
    results: Annotated[Path, typer.Option("--results", help="Where agents are looked for by name.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print the comparison for machines instead.")] = False,
) -> None:
    """Compare two agents on the episodes that both played, hand by hand, and say what may be concluded.

    Success is tested by McNemar's exact test; the intervals are 95% bootstrap intervals over the pairs.
    """
    require("scipy")
    from gtr_envs.storage import to_json
    from leaderboard.compare import compare_results

    sides = [find_agent_results(given, results) for given in (first, second)]
    check_different(*sides)
    found = compare_results(*sides)
    for result in (result for side in sides for result in side):
        if len(result.episodes) < result.meta.n_episodes:
            note(f"{result.folder} is not finished: {len(result.episodes)} of {result.meta.n_episodes} episodes")
    if json:
        print(to_json(asdict(found), 2))
        return
    terminal = console()
    print_table(terminal, comparison_table(found))
    terminal.print(found.conclusion, markup=False, highlight=False, soft_wrap=True)


def find_agent_results(given: str, results: Path) -> list[Result]:
    """The results that an argument names.

    Args:
        given: a folder with one agent's results, or an agent's name.
        results: where agents are looked for by name.

    Raises:
        ResultError: it names nothing, or results of several agents; or they are damaged.
    """
    from gtr_envs.errors import ResultError
    from leaderboard.records import read_meta, result_folders
    from leaderboard.summary import find_results

    if Path(given).is_dir():
        found = find_results([Path(given)])
        agents = sorted({result.meta.agent for result in found})
        if len(agents) > 1:
            raise ResultError(f"{given} holds the results of {len(agents)} agents ({', '.join(agents)}); name one")
        return found
    if not results.is_dir():
        raise ResultError(f"{given} is no folder, and there is no folder {results} to look for an agent of that name")
    named = {folder: read_meta(folder).agent for folder in result_folders(results)}
    chosen = [folder for folder, agent in named.items() if agent == given]
    if not chosen:
        there = ", ".join(sorted(set(named.values()))) or "none"
        raise ResultError(f"{results} holds no results of an agent {given!r}; it holds: {there}; or name a folder")
    return find_results(chosen)


def check_different(first: Sequence[Result], second: Sequence[Result]) -> None:
    """Make sure that nothing is compared with itself.

    Raises:
        ResultError: both sides are the same folder, or contain one.
    """
    from gtr_envs.errors import ResultError

    same = {result.folder.resolve() for result in first} & {result.folder.resolve() for result in second}
    if same:
        raise ResultError(f"both sides hold {sorted(same)[0]}; compare two different results")


def comparison_table(found: Comparison) -> Table:
    """The comparison for the terminal: a line for each split, and all of them together."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    several = len({(part.env_id, part.rules) for part in found.parts}) > 1
    table = Table(
        title=Text(f"A: {found.first}\nB: {found.second}"),
        title_justify="left",
        caption=Text(
            "A, B: success; only A, B: how many only A solved, and only B\n"
            "[ ]: 95% bootstrap intervals over the pairs; p: McNemar's exact test"
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("environment, split" if several else "split", overflow="fold", no_wrap=not several)
    for heading in ("pairs", "A", "B", "B - A", "only\nA, B", "p", "return,\nB - A"):
        table.add_column(heading, justify="right", no_wrap=True)
    for part in found.parts:
        place = f"{part.env_id} {part.rules} {part.split}" if several else part.split
        table.add_row(*map(Text, _cells(part, place)))
    if len(found.parts) > 1:
        table.add_section()
        table.add_row(*map(Text, _cells(found.pooled, "together")))
    return table


def _cells(part: Difference, place: str) -> list[str]:
    from leaderboard.compare import p_text
    from leaderboard.standings import number

    change = part.success
    bounds = "" if math.isnan(change.low) else f"\n[{100 * change.low:.1f}, {100 * change.high:.1f}]"
    return [
        place,
        str(part.n),
        f"{100 * part.first_success:.1f}%",
        f"{100 * part.second_success:.1f}%",
        f"{100 * change.value:+.1f}{bounds}",
        f"{part.only_first}, {part.only_second}",
        p_text(part.p_value).removeprefix("= "),
        "–" if part.episode_return is None else number(part.episode_return, "\n"),
    ]
