"""``gtr-bench eval``: what it takes, and how agents are evaluated one after the other, ground by ground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Literal

import typer

from leaderboard.cli_parts import console, quiet_libraries, require

CRASHED = 1
"""The exit code of an evaluation in which episodes crashed."""

Agents = Annotated[
    list[str],
    typer.Option(
        "--agent",
        metavar="SPEC",
        help="random, expert (sees the whole state), explorer (ALFWorld: sees what an agent sees), human, "
        "tiny:NAME (packaged), hf:NAME_OR_PATH, openai:MODEL, or a checkpoint's folder. Repeatable.",
    ),
]
Envs = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="ID",
        help="An environment's id. Without it, a checkpoint plays the one that it was trained in, with the options of "
        "its training, and other agents gtr/Points24-v0. Repeatable.",
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        metavar="NUMBER",
        help="Which evaluation seeds; agents with the same seed play the same hands or games. 0 if not given. "
        "Repeatable; several are also pooled.",
    ),
]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        metavar="NAME",
        help="Points24: all, train (multisets of cards that training may use) or test (held out). ALFWorld: train, "
        "valid_seen or valid_unseen (rooms that training never uses). Without it, the environment's default; a "
        "checkpoint without --env plays both sides of Points24, or both valid splits of ALFWorld. Repeatable.",
    ),
]
Hands = Annotated[str | None, typer.Option(help="Points24: solvable, or all: hands without a solution too.")]
Illegal = Annotated[
    str | None,
    typer.Option(
        help="What an illegal action does. Points24, EZPoints: continue or terminate. ALFWorld: continue or random."
    ),
]
MODELS, ENDPOINTS = "Agents that are models", "Agents behind an endpoint (openai:MODEL)"


def eval_command(
    agent: Agents,
    env: Envs = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", help="Episodes for each split and seed.")] = 200,
    seed: Seeds = None,
    split: Splits = None,
    hands: Hands = None,
    illegal: Illegal = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Another option of the environment. Repeatable."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Episodes played side by side; changes a model's play by rounding alone.")
    ] = 128,
    out: Annotated[Path, typer.Option("--out", help="The folder of all results.")] = Path("results"),
    name: Annotated[str | None, typer.Option("--name", help="The agent's name in the leaderboard.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print a summary for machines, and everything else on stderr.")
    ] = False,
    greedy: Annotated[
        bool,
        typer.Option(
            "--greedy", rich_help_panel=MODELS, help="Take the likeliest token instead of sampling; named NAME-greedy."
        ),
    ] = False,
    temperature: Annotated[
        float | None,
        typer.Option(rich_help_panel=MODELS, help="Of the sampling; without it, that of the agent's training, or 1."),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(rich_help_panel=MODELS, help="Tokens after which an answer is cut off; else the agent's own."),
    ] = None,
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        typer.Option(rich_help_panel=MODELS, help="Of the forward passes; auto for what this machine is fast in."),
    ] = "auto",
    record_scores: Annotated[
        bool,
        typer.Option("--record-scores", rich_help_panel=MODELS, help="Keep each token's log-prob, for replays."),
    ] = False,
    teacher: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=MODELS,
            help="With --record-scores: a checkpoint, or a packaged agent, that scores the same tokens.",
        ),
    ] = None,
    base_url: Annotated[
        str, typer.Option(rich_help_panel=ENDPOINTS, help="Its address; else OPENAI_BASE_URL, else OpenAI's.")
    ] = "",
    concurrency: Annotated[int, typer.Option(rich_help_panel=ENDPOINTS, help="Calls at a time.")] = 8,
    retries: Annotated[int, typer.Option(rich_help_panel=ENDPOINTS, help="Further attempts at a failed call.")] = 5,
    timeout: Annotated[float, typer.Option(rich_help_panel=ENDPOINTS, help="Seconds to wait for an answer.")] = 120.0,
    max_cost: Annotated[
        float, typer.Option(rich_help_panel=ENDPOINTS, help="USD to spend at most on each agent; 0 for no cap.")
    ] = 0.0,
    price_in: Annotated[
        float, typer.Option(rich_help_panel=ENDPOINTS, help="USD for a million tokens of the questions.")
    ] = 0.0,
    price_out: Annotated[
        float, typer.Option(rich_help_panel=ENDPOINTS, help="USD for a million tokens of the answers.")
    ] = 0.0,
) -> None:
    """Evaluate agents; the same command again resumes an interrupted evaluation or finds it done.

    A checkpoint's folder alone is enough: its notes say in which environment it was trained, and it samples as it did
    in training. The exit code is 0 only if all episodes were played; 1 if some crashed: they are kept, and count as
    failures.
    """
    require("scipy")
    from leaderboard.agents import AgentOptions
    from leaderboard.evaluations import Plan, evaluate_agent, print_pooled, results_json
    from leaderboard.grounds import choose_grounds
    from leaderboard.options import check_engine, check_names

    how = AgentOptions(
        temperature=temperature,
        greedy=greedy,
        max_new_tokens=max_new_tokens,
        precision=precision,
        concurrency=concurrency,
        retries=retries,
        timeout_s=timeout,
        max_cost=max_cost,
        price_in=price_in,
        price_out=price_out,
        base_url=base_url,
        record_scores=record_scores,
    )
    specs = check_specs(agent, name)
    check_scores(specs, record_scores, teacher)
    shared = {key: value for key, value in (("hands", hands), ("illegal", illegal)) if value is not None}
    grounds = choose_grounds(specs, env or [], split or [], shared | env_options(option or []))
    for ground in (ground for chosen in grounds.values() for ground in chosen):
        check_names(ground.env_id, ground.options)  # before a model takes minutes to load
        check_engine(ground.env_id)
    terminal = console(stderr=json)
    plan = Plan(list(dict.fromkeys(seed or [0])), episodes, out, batch_size, name, teacher)
    results = [result for spec in specs for result in evaluate_agent(spec, how, grounds[spec], plan, terminal)]
    print_pooled(terminal, results)
    if json:
        print(results_json(results))
    else:
        terminal.print(next_steps(out, results[0].folder), soft_wrap=True, highlight=False, markup=False)
    if any(result.summary.crashed for result in results):
        raise typer.Exit(CRASHED)


def next_steps(out: Path, folder: Path) -> str:
    """The commands to go on with after an evaluation: the ranking, and an episode to look at."""
    return (
        f"go on with: gtr-bench leaderboard {quote(str(out))} --csv leaderboard.csv --html site/\n"
        f"            gtr-bench replay {quote(str(folder))} --episode 0"
    )


def check_specs(specs: Sequence[str], name: str | None) -> list[str]:
    """The agents to evaluate, each once, after making sure of what can be known before anything is loaded.

    Raises:
        SettingError: a spec names nothing, or several agents are to have one name.
        CheckpointError: a folder is missing.
        MissingExtraError: playing a model needs libraries that are not installed.
    """
    from gtr_envs.errors import SettingError
    from leaderboard.agents import check_agent, is_local_model

    chosen = list(dict.fromkeys(specs))
    if name is not None and len(chosen) > 1:
        raise SettingError(f"--name {name!r} with {len(chosen)} agents; a name is for one --agent: evaluate each alone")
    for spec in chosen:
        check_agent(spec)
    if any(map(is_local_model, chosen)):
        require("torch", "transformers", "peft")
        quiet_libraries()
    return chosen


def check_scores(specs: Sequence[str], record_scores: bool, teacher: Path | None) -> None:
    """Make sure that scores are asked of agents that have some.

    Raises:
        SettingError: a teacher without --record-scores, or an agent that writes no tokens.
        CheckpointError: there is no such teacher.
    """
    from gtr_agent.packaged import is_packaged
    from gtr_envs.errors import CheckpointError, SettingError
    from leaderboard.agents import KINDS, is_local_model

    if teacher is not None and not record_scores:
        raise SettingError(f"--teacher {teacher} scores tokens only with --record-scores; give both")
    if teacher is not None and not (is_packaged(teacher) or teacher.is_dir()):
        raise CheckpointError(
            f"--teacher {teacher} is no folder; choose that of a checkpoint or a run, or a packaged agent's name"
        )
    for spec in specs if record_scores else ():
        if spec.partition(":")[0] in KINDS and not is_local_model(spec):
            raise SettingError(f"--record-scores with --agent {spec}, which tells no log-probs; leave one of them out")
        if teacher is not None and not is_local_model(spec):
            raise SettingError(f"--teacher with --agent {spec}: a teacher can score the tokens of a local model alone")


def env_options(pairs: Sequence[str]) -> dict[str, Any]:
    """The environment's options among the command's arguments, ``name=value`` each.

    Raises:
        SettingError: one is not of this form.
    """
    from gtr_agent.config import read_value
    from gtr_envs.errors import SettingError

    found = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.strip():
            raise SettingError(f"--option {pair!r} is not of the form name=value")
        found[name.strip()] = read_value(text)
    return found
