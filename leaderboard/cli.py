"""The command line, ``gtr-bench``.

Nothing heavy is imported before a command needs it, so that ``gtr-bench --help`` answers at once. Every error that the
project raises on purpose ends as one line on stderr and exit code 2; Ctrl-C ends with 130 and whole files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from gtr_agent.command import CommandWithSettings, Config, Init, Overrides, Preset, Resume, run_train
from gtr_agent.command import Out as RunOut
from leaderboard.cli_board import leaderboard_command
from leaderboard.cli_compare import compare_command
from leaderboard.cli_eval import eval_command
from leaderboard.cli_export import export_command
from leaderboard.cli_parts import console, quiet_libraries, require
from leaderboard.cli_play import envs_command, play_command
from leaderboard.cli_replay import replay_command, validate_command

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
    made = run_train(out, preset, config, overrides, init, resume)
    print(f"trained agent: {made}")
    print(f"go on with: gtr-bench eval --agent {made}")


@app.command("export-teacher")
def export_teacher_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or one of its checkpoints.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    form: Annotated[
        Literal["adapter", "weights"], typer.Option(help="A plain PEFT adapter, or a whole model.")
    ] = "adapter",
    rank: Annotated[int | None, typer.Option(help="Of the adapter; as the agent's own if left out.")] = None,
) -> None:
    """Save a GTR-Turbo run's merged teacher as a model of its own."""
    require("torch", "transformers", "peft")
    quiet_libraries()
    from gtr_agent.export_teacher import export_teacher

    lost = export_teacher(run, out, form, rank)
    print(
        f"merged teacher: {out}" + (f" ({lost:.2%} of its change is cut off by the rank)" if form == "adapter" else "")
    )
    print(f"go on with: gtr-bench eval --agent {out}")


app.command("eval")(eval_command)
app.command("replay")(replay_command)
app.command("validate")(validate_command)
app.command("play")(play_command)
app.command("envs")(envs_command)
app.command("compare")(compare_command)
app.command("leaderboard")(leaderboard_command)
app.command("export")(export_command)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option("--out", help="The folder of everything that it makes.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option(help="Of training and evaluation, and of a start from scratch.")] = 0,
    budget: Annotated[
        str, typer.Option(help="full (less than 10 minutes on 2 cores) or toy (a test of the parts).")
    ] = "full",
    episodes: Annotated[int | None, typer.Option("--episodes", "-n", min=1, help="For each agent and split.")] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Make the warm start too, instead of taking the packaged one.")
    ] = False,
) -> None:
    """The whole job on a CPU: train, evaluate, rank. The same command again goes on where it stopped."""
    require("scipy", "jinja2", "torch", "transformers", "peft")
    quiet_libraries()
    from leaderboard.quickstart import run_quickstart

    run_quickstart(out, seed, budget, console(), episodes, from_scratch)


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
    context = getattr(error, "ctx", None)
    command = f"gtr-bench {context.info_name}" if context is not None and context.parent is not None else "gtr-bench"
    return f"{text} ({command} --help lists what there is)" if text else ""


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
