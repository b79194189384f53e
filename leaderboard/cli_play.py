"""``gtr-bench play`` and ``gtr-bench envs``: watch an agent, see what there is to play."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from leaderboard.cli_parts import console, note

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.envs_list import Listed


def play_command(
    agent: Annotated[
        str,
        typer.Option("--agent", metavar="SPEC", help="Whom to watch: tiny:points24, expert, human, or as for eval."),
    ],
    env: Annotated[
        str | None, typer.Option("--env", help="The environment's id; else the checkpoint's own, else Points24.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The evaluation seed: the episodes are those of eval.")] = 0,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=1, help="How many to play.")] = 1,
    split: Annotated[str | None, typer.Option("--split", help="As for eval; else the usual one.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Another option of the environment. Repeatable."),
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the likeliest token instead of sampling.")] = False,
    temperature: Annotated[float | None, typer.Option(help="Of the sampling.")] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(help="Of the forward passes; auto for what this machine is fast in."),
    ] = "auto",
    save: Annotated[Path | None, typer.Option("--save", help="Write the frames as PNG files into this folder.")] = None,
    delay: Annotated[float, typer.Option(min=0.0, max=60.0, help="Seconds to wait after each turn.")] = 0.0,
    pictures: Annotated[bool, typer.Option(help="Draw the frames where the terminal has colours.")] = True,
) -> None:
    """Watch an agent play, turn by turn. Nothing is recorded; gtr-bench eval does that."""
    from leaderboard.agents import AgentOptions
    from leaderboard.cli_eval import check_specs, env_options
    from leaderboard.evaluations import load_noted
    from leaderboard.grounds import choose_grounds
    from leaderboard.options import check_engine, check_names
    from leaderboard.play import moments, watch

    check_specs([agent], None)
    splits = [split] if split is not None else []
    ground = choose_grounds([agent], [env] if env else [], splits, env_options(option or []))[agent][0]
    check_names(ground.env_id, ground.options)
    check_engine(ground.env_id)
    policy = load_noted(agent, AgentOptions(temperature=temperature, greedy=greedy, precision=precision))
    terminal = console()
    try:
        found = moments(policy, ground.env_id, ground.options, seed, episodes)
        # A person who plays is shown each question by the agent that asks for the answers.
        watch(terminal, found, delay=delay, pictures=pictures, questions=agent != "human", save=save)
    finally:
        getattr(policy, "close", lambda: None)()


def envs_command(
    env: Annotated[
        list[str] | None, typer.Argument(help="Environments to describe in full; without any, all briefly.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all of it for machines.")] = False,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Write a first frame of each as a PNG file into this folder.")
    ] = None,
) -> None:
    """List the environments: task, actions, rewards, options with their defaults and allowed values, pictures."""
    from leaderboard.envs_list import describe_environment, list_environments, write_pictures

    listed = [describe_environment(env_id) for env_id in dict.fromkeys(env)] if env else list_environments()
    if json:
        print(json_module.dumps([asdict(each) for each in listed], indent=2, default=str))
    else:
        _print_environments(console(), listed, in_full=bool(env))
    if pictures is not None:
        written = write_pictures(pictures, listed, note)
        for path in () if json else written:
            print(f"wrote {path}")


def _print_environments(terminal: Console, listed: Sequence[Listed], in_full: bool) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    for each in listed:
        terminal.print(Text(f"\n{each.env_id}", style="bold"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column()
        for name, text in _rows(each, in_full):
            table.add_row(Text(name), Text(text))
        terminal.print(Padding(table, (0, 0, 0, 2)))
    if not in_full:
        terminal.print("\ngtr-bench envs ID describes one in full; --pictures FOLDER draws them", highlight=False)


def _rows(each: Listed, in_full: bool) -> list[tuple[str, str]]:
    actions = " ".join(each.actions) or each.action
    rows = [("task", each.title), ("actions", each.action if in_full else _first_sentences(actions))]
    rows.append(("reward", each.reward if in_full else _first_sentences(each.reward)))
    if in_full:
        rows += [("picture", each.observation), ("end", each.end)]
    rows.append(("splits", ", ".join(each.splits)))
    rows += [("options" if index == 0 else "", _option(option.name, option.default, option.allowed))
             for index, option in enumerate(each.options)]  # fmt: skip
    rows.append(("shown in", ", ".join(filter(None, (each.page, each.picture)))))
    if each.missing:
        rows.append(("missing", each.missing))
    return [(name, text) for name, text in rows if text]


def _option(name: str, default: Any, allowed: str) -> str:
    usual = "" if default is None else f" = {default}"
    return f"{name}{usual}" + (f"   ({allowed})" if allowed else "")


def _first_sentences(text: str, most: int = 220) -> str:
    """The beginning of a text, up to the end of a sentence where there is one."""
    if len(text) <= most:
        return text
    end = max(text.rfind(". ", 0, most), text.rfind("; ", 0, most))
    return f"{text[: end + 1] if end > 60 else text[:most].rsplit(' ', 1)[0]} ..."
