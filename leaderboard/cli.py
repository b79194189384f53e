"""The command line, ``gtr-bench``.

Nothing heavy is imported before a command needs it, so that ``gtr-bench --help`` answers at once. Every error that the
project raises on purpose ends as one line on stderr and exit code 2; Ctrl-C ends with 130 and whole files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gtr_agent.command import CommandWithSettings, Config, Init, Overrides, Preset, Resume, run_train
from gtr_agent.command import Out as RunOut
from leaderboard.cli_eval import eval_command
from leaderboard.cli_parts import console, note, quiet_libraries, require
from leaderboard.wording import DEFAULT_ENV, wording

app = typer.Typer(
    name="gtr-bench",
    help="Play, train, score and rank vision-language agents. Start with: gtr-bench quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

INTERRUPTED = 130

Out = Annotated[Path, typer.Option("--out", help="The folder to write; it must not hold another run.")]


@app.command("init-tiny")
def init_tiny_command(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    seed: Annotated[int, typer.Option(help="What the random weights follow from.")] = 0,
    env: Annotated[str, typer.Option(help="The environment whose words become single tokens.")] = "gtr/Points24-v0",
) -> None:
    """Make the tiny vision-language model: Qwen2.5-VL's own class, 1.6 million random weights."""
    require("torch", "transformers")
    quiet_libraries()
    from gtr_agent.tiny import init_tiny

    print(f"made {init_tiny(out, seed, env)}")


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


def what_to_evaluate(env_id: str) -> str:
    """The options that name an environment and its splits, for an evaluation to go on with."""
    if env_id == DEFAULT_ENV:
        return "--split train --split test"
    held_out = [split for split, _ in wording(env_id).columns if split not in ("all", "train")]
    return " ".join([f"--env {env_id}", *(f"--split {split}" for split in held_out)])


@app.command(cls=CommandWithSettings)
def sft(
    out: Out,
    preset: Preset = None,
    config: Config = None,
    overrides: Overrides = None,
) -> None:
    """Warm-start a model on an expert's episodes (supervised)."""
    require("torch", "transformers", "peft")
    from gtr_agent.config import load_settings

    settings = load_settings(preset, config, overrides or [])
    quiet_libraries()
    from gtr_agent.sft import run_sft

    made = run_sft(settings, out)
    print(f"warm-started model: {made}")
    print(f"go on with: gtr-bench train {_chosen(preset, config)}--init {made} --out runs/my-agent")


@app.command(cls=CommandWithSettings)
def train(
    out: RunOut = None,
    preset: Preset = None,
    config: Config = None,
    overrides: Overrides = None,
    init: Init = None,
    resume: Resume = None,
) -> None:
    """Train an agent, by GTR-Turbo or one of its relatives; the setting 'method' says which."""
    require("torch", "transformers", "peft")
    quiet_libraries()
    from gtr_agent.checkpoint import read_notes

    made = run_train(out, preset, config, overrides, init, resume)
    print(f"trained agent: {made}")
    print(f"go on with: gtr-bench eval --agent {made} {what_to_evaluate(read_notes(made)['env_id'])}")


app.command("eval")(eval_command)


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
    from leaderboard.standings import standings, standings_tables
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
    terminal.print(*standings_tables(ranked), sep="\n")
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
        the exit code: 0 done, 1 episodes of an evaluation crashed or the doctor found something missing, 2 an error
        that the user can mend, 130 interrupted.
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
            "interrupted: all files are whole; eval and quickstart go on where they stopped when run again, train with "
            "--resume; sft starts over in a new --out",
            file=sys.stderr,
        )
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
