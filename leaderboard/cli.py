"""The command line, ``gtr-bench``.

Nothing heavy is imported before a command needs it, so that ``gtr-bench --help`` answers at once. Every error that the
project raises on purpose ends as one line on stderr and exit code 2; Ctrl-C ends with 130 and whole files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="gtr-bench",
    help="Play, train, score and rank vision-language agents. Start with: gtr-bench quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

INTERRUPTED = 130
EXTRAS = {"scipy": "eval", "jinja2": "eval"}

Preset = Annotated[str | None, typer.Option("--preset", help="A preset's name; gtr-bench presets lists them.")]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings, instead of a preset.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be given many times.")
]
Out = Annotated[Path, typer.Option("--out", help="The folder to write; it must not hold another run.")]


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


def console(stderr: bool = False) -> Console:
    """The terminal."""
    from rich.console import Console

    return Console(stderr=stderr)


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


@app.command("init-tiny")
def init_tiny_command(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    seed: Annotated[int, typer.Option(help="What the random weights follow from.")] = 0,
) -> None:
    """Make the tiny vision-language model: Qwen2.5-VL's own class, 1.6 million random weights."""
    require("torch", "transformers")
    quiet_libraries()
    from gtr_agent.tiny import init_tiny

    print(f"made {init_tiny(out, seed)}")


@app.command()
def presets() -> None:
    """List the presets."""
    require("pydantic")
    from gtr_agent.config import preset_names

    for name in preset_names():
        print(name)


def _chosen(preset: str | None, config: Path | None) -> str:
    """The options that name the settings, for a command to go on with."""
    return f"--preset {preset} " if preset else f"--config {config} " if config else ""


@app.command()
def sft(
    out: Out,
    preset: Preset = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Warm-start a model on the solver's episodes (supervised)."""
    require("torch", "transformers", "peft")
    from gtr_agent.config import load_settings

    settings = load_settings(preset, config, overrides or [])
    quiet_libraries()
    from gtr_agent.sft import run_sft

    made = run_sft(settings, out)
    print(f"warm-started model: {made}")
    print(f"go on with: gtr-bench train {_chosen(preset, config)}--init {made} --out runs/my-agent")


@app.command()
def train(
    out: Out,
    preset: Preset = None,
    config: Config = None,
    overrides: Overrides = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="The warm-started checkpoint to begin from; else the setting model.base."),
    ] = None,
) -> None:
    """Train an agent by reinforcement learning: GTR-Turbo (KL) or plain PPO, by the setting 'method'."""
    require("torch", "transformers", "peft")
    from gtr_agent.config import load_settings

    changed = list(overrides or [])
    if init is not None:
        changed.append(f"model.base={json.dumps(str(init))}")
    settings = load_settings(preset, config, changed)
    quiet_libraries()
    from gtr_agent.train import train as run_training

    made = run_training(settings, out)
    print(f"trained agent: {made}")
    print(f"go on with: gtr-bench eval --agent {made} --split train --split test")


@app.command("eval")
def eval_command(
    agent: Annotated[str, typer.Option("--agent", metavar="SPEC", help="random, expert, or a checkpoint's folder.")],
    env: Annotated[str, typer.Option("--env", help="The environment's id.")] = "gtr/Points24-v0",
    episodes: Annotated[int, typer.Option("--episodes", "-n", help="Episodes for each split.")] = 200,
    seed: Annotated[
        int, typer.Option(help="Which evaluation seeds; agents with the same seed play the same hands.")
    ] = 0,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Hands: all, train (multisets training may use) or test (held out). Repeatable."),
    ] = None,
    hands: Annotated[str, typer.Option(help="solvable, or all: hands without a solution too.")] = "solvable",
    illegal: Annotated[str, typer.Option(help="An illegal number: continue or terminate the episode.")] = "continue",
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
    """Evaluate an agent; the same command again resumes an interrupted evaluation or finds it done."""
    require("scipy")
    from leaderboard.agents import describe_agent, load_agent
    from leaderboard.evaluate import evaluate, make_meta
    from leaderboard.progress import evaluation_progress
    from leaderboard.standings import print_result

    terminal = console()
    if Path(agent).is_dir():
        require("torch", "transformers", "peft")
        quiet_libraries()
    policy = load_agent(agent, temperature, greedy)
    card = describe_agent(agent, policy, name=name, temperature=temperature, greedy=greedy)
    changed = {"hands": hands} if hands != "solvable" else {}
    changed |= {"illegal": illegal} if illegal != "continue" else {}
    changed |= env_options(option or [])
    options = [{**({"split": one} if one else {}), **changed} for one in dict.fromkeys(split or [""])]
    for kwargs in options:  # a mistake in the last split should not wait for the first to be played
        make_meta(card, env, kwargs, seed, episodes)
    for kwargs in options:
        with evaluation_progress(terminal, f"{card.name}, split {kwargs.get('split', 'all')}") as report:
            result = evaluate(
                policy,
                env,
                kwargs,
                agent=card,
                seed=seed,
                n_episodes=episodes,
                out_dir=out,
                batch_size=batch_size,
                on_progress=report,
                notice=note,
            )
        print_result(terminal, result)


@app.command("leaderboard")
def leaderboard_command(
    results: Annotated[list[Path], typer.Argument(help="Folders of results, searched through.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write the leaderboard here.")] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write a page with pictures of episodes here.")] = None,
    page_episodes: Annotated[int, typer.Option(help="Episodes the page shows of each agent and split.")] = 3,
    reported: Annotated[bool, typer.Option(help="Add the numbers that papers report to the CSV.")] = True,
) -> None:
    """Rank the evaluated agents: a table, the CSV, a page to look at."""
    require("scipy", "jinja2")
    from leaderboard.page import write_page
    from leaderboard.standings import standings, standings_table
    from leaderboard.summary import find_results
    from leaderboard.table import finished_only, is_finished, write_csv

    found = find_results(results)
    for result in found:
        if not is_finished(result):
            note(
                f"{result.folder} is left out: {len(result.episodes)} of {result.meta.n_episodes} episodes are there; "
                "run the same gtr-bench eval again to finish it"
            )
    ranked = standings(finished_only(found))
    if csv is not None:
        write_csv(csv, found, reported)
    if page is not None:
        write_page(page, found, page_episodes, note)
    terminal = console()
    terminal.print(standings_table(ranked))
    for path in filter(None, (csv, page)):
        print(f"wrote {path}")


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option("--out", help="The folder of everything that it makes.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Of the model, the training and the evaluation.")] = 0,
    budget: Annotated[
        str, typer.Option(help="full (about 10 minutes on 2 cores) or toy (a test of the parts).")
    ] = "full",
    episodes: Annotated[int | None, typer.Option("--episodes", "-n", help="For each agent and split.")] = None,
) -> None:
    """The whole job on a CPU: warm-start, train, evaluate, rank. The same command again goes on where it stopped."""
    require("scipy", "jinja2", "torch", "transformers", "peft")
    quiet_libraries()
    from leaderboard.quickstart import run_quickstart

    run_quickstart(out, seed, budget, console(), episodes)


@app.command()
def doctor(
    features: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="FEATURE", help="What must work: envs, agent, alfworld or eval. Repeatable."),
    ] = None,
) -> None:
    """Check that everything is installed and works, and say how to mend what does not.

    The exit code is 1 if something is missing that a feature after --for needs; without --for, the environments.
    """
    from leaderboard.doctor import run_doctor

    raise typer.Exit(run_doctor(features or [], console()))


def user_message(error: Exception) -> str | None:
    """What to tell a user of an error that the project or the command line raised on purpose; None if it is a fault."""
    from gtr_envs.errors import GtrError

    if isinstance(error, GtrError):
        return " ".join(str(error).split()) or type(error).__name__
    # Typer's own errors (an unknown option, a value that does not parse) have no public class in common.
    typed = getattr(error, "format_message", None)
    if typed is None:
        return None
    text = " ".join(typed().split())
    return f"{text} (gtr-bench --help lists what there is)" if text else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands behind ``gtr-bench``; the process's own arguments if None.

    Returns:
        the exit code: 0 done, 2 an error that the user can mend, 130 interrupted.
    """
    try:
        code = app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        if message:  # empty where the help was asked for by giving no command
            print(f"error: {message}", file=sys.stderr)
        return 2
    if code == INTERRUPTED:
        print(
            "interrupted: all files are whole; eval and quickstart go on where they stopped when run again, "
            "sft and train start over in a new --out",
            file=sys.stderr,
        )
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
