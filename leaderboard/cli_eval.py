"""``gtr-bench eval``: what it takes, and how agents are evaluated one after the other, split by split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leaderboard.cli_parts import console, note, quiet_libraries, require
from leaderboard.wording import DEFAULT_ENV

if TYPE_CHECKING:
    from leaderboard.summary import Result

CRASHED = 1
"""The exit code of an evaluation in which episodes crashed."""

Agents = Annotated[
    list[str],
    typer.Option(
        "--agent",
        metavar="SPEC",
        help="random, expert (sees the whole state), explorer (ALFWorld: sees what an agent sees), or a checkpoint's "
        "folder. Repeatable.",
    ),
]
Splits = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        help="Points24: all, train (multisets of cards that training may use) or test (held out). ALFWorld: train, "
        "valid_seen or valid_unseen (rooms that training never uses). Without it, the environment's default. "
        "Repeatable.",
    ),
]
Hands = Annotated[str | None, typer.Option(help="Points24: solvable, or all: hands without a solution too.")]
Illegal = Annotated[
    str | None,
    typer.Option(
        help="What an illegal action does. Points24, EZPoints: continue or terminate. ALFWorld: continue or random."
    ),
]


def eval_command(
    agent: Agents,
    env: Annotated[str, typer.Option("--env", help="The environment's id.")] = DEFAULT_ENV,
    episodes: Annotated[int, typer.Option("--episodes", "-n", help="Episodes for each split.")] = 200,
    seed: Annotated[
        int, typer.Option(help="Which evaluation seeds; agents with the same seed play the same hands or games.")
    ] = 0,
    split: Splits = None,
    hands: Hands = None,
    illegal: Illegal = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="Another option of the environment. Repeatable."),
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Take the likeliest token instead of sampling.")] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Of the sampling; without it, the one the agent was trained with.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Episodes played side by side; changes a model's play by rounding alone.")
    ] = 128,
    out: Annotated[Path, typer.Option("--out", help="The folder of all results.")] = Path("results"),
    name: Annotated[str | None, typer.Option("--name", help="The agent's name in the leaderboard.")] = None,
) -> None:
    """Evaluate agents; the same command again resumes an interrupted evaluation or finds it done.

    The exit code is 1 if episodes crashed; they are kept, and count as failures.
    """
    require("scipy")
    from leaderboard.agents import describe_agent, load_agent
    from leaderboard.evaluate import make_meta

    specs = check_specs(agent, name)
    shared = {key: value for key, value in (("hands", hands), ("illegal", illegal)) if value is not None}
    shared |= env_options(option or [])
    options = [{**({"split": one} if one else {}), **shared} for one in dict.fromkeys(split or [""])]
    results = []
    for spec in specs:
        policy = load_agent(spec, temperature, greedy)
        card = describe_agent(spec, policy, name=name, temperature=temperature, greedy=greedy)
        # A mistake in the last split should not wait for the first to be played.
        metas = [make_meta(card, env, kwargs, seed, episodes) for kwargs in options]
        for kwargs, meta in zip(options, metas, strict=True):
            results.append(
                _evaluate(
                    f"{card.name}, split {meta.split}",
                    policy=policy,
                    env_id=env,
                    env_kwargs=kwargs,
                    agent=card,
                    seed=seed,
                    n_episodes=episodes,
                    out_dir=out,
                    batch_size=batch_size,
                )
            )
    if any(result.summary.crashed for result in results):
        raise typer.Exit(CRASHED)


def check_specs(specs: Sequence[str], name: str | None) -> list[str]:
    """The agents to evaluate, each once, after making sure of what can be known before anything is loaded.

    Raises:
        SettingError: a spec names nothing, or several agents are to have one name.
        CheckpointError: a folder is missing.
        MissingExtraError: playing a model needs libraries that are not installed.
    """
    from gtr_envs.errors import SettingError
    from leaderboard.agents import check_agent

    chosen = list(dict.fromkeys(specs))
    if name is not None and len(chosen) > 1:
        raise SettingError(f"--name {name!r} with {len(chosen)} agents; a name is for one --agent: evaluate each alone")
    for spec in chosen:
        check_agent(spec)
    if any(Path(spec).is_dir() for spec in chosen):
        require("torch", "transformers", "peft")
        quiet_libraries()
    return chosen


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


def _evaluate(what: str, **arguments: Any) -> Result:
    """Evaluate one agent on one split in the terminal's sight. Arguments as for `leaderboard.evaluate.evaluate`."""
    from leaderboard.evaluate import evaluate
    from leaderboard.progress import evaluation_progress
    from leaderboard.standings import print_result

    terminal = console()
    with evaluation_progress(terminal, what) as report:
        result = evaluate(**arguments, on_progress=report, notice=note)
    print_result(terminal, result)
    if result.summary.crashed:
        note(
            f"{result.summary.crashed} of {result.summary.n_episodes} episodes crashed, the first with "
            f"{result.summary.first_crash}; they count as failures; mend the cause, then delete {result.folder} and "
            "run the same gtr-bench eval again"
        )
    return result
