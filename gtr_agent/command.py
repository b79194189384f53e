"""The command that trains, for ``gtr-bench train`` and, on several processes, for ``accelerate launch`` and
``torchrun``."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from gtr_agent.settings import Settings

Out = Annotated[Path | None, typer.Option("--out", help="The folder to write; it must not hold another run.")]
Preset = Annotated[str | None, typer.Option("--preset", help="A preset's name; gtr-bench presets lists them.")]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file with settings, instead of a preset.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; may be given several times."),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init",
        metavar="FOLDER|NAME",
        help="The warm start to begin from: a folder, or a packaged one such as tiny:points24; else model.base.",
    ),
]
Resume = Annotated[
    Path | None, typer.Option("--resume", help="Go on with the run in this folder, as if it had never stopped.")
]


def run_train(
    out: Path | None,
    preset: str | None,
    config: Path | None,
    overrides: Sequence[str] | None,
    init: Path | None,
    resume: Path | None,
) -> Path:
    """Train, or go on training, as the command line says.

    Returns:
        the last checkpoint's folder.

    Raises:
        SettingError: the arguments contradict each other, or a setting is wrong.
    """
    from gtr_agent.config import load_settings
    from gtr_agent.idle import idle_notes
    from gtr_agent.launch import is_main_process
    from gtr_agent.run_folder import CONFIG, read_settings
    from gtr_envs.errors import SettingError

    changed = list(overrides or [])
    if resume is not None:
        given = {"--preset": preset, "--config": config, "--init": init, "--out": out}
        mistaken = [name for name, value in given.items() if value is not None]
        if mistaken:
            raise SettingError(f"--resume goes on with a run's own settings; leave out {', '.join(mistaken)}")
        read_settings(resume)
        return _train(load_settings(None, resume / CONFIG, changed), resume, resume=True)
    if out is None:
        raise SettingError("name the run's folder with --out, or go on with one by --resume")
    if init is not None:
        changed.append(f"model.base={json.dumps(str(init))}")
    settings = load_settings(preset, config, changed)
    for note in idle_notes(settings) if is_main_process() else ():
        print(note, file=sys.stderr)
    if settings.model.base == "tiny" and settings.method != "sft" and is_main_process():
        start = "tiny:alfworld" if settings.env.id.startswith("gtr/ALFWorld") else "tiny:points24"
        print(
            f"note: training begins from random weights; a warm start is --init {start}, or what gtr-bench sft makes",
            file=sys.stderr,
        )
    return _train(settings, out)


def how_to_go_on(out: Path) -> str:
    """What to run to go on with the run in a folder; with several processes, what their launcher has to start."""
    from gtr_agent.launch import process_count

    if process_count() == 1:
        return f"go on with: gtr-bench train --resume {out}"
    return f"go on with the same launcher, as many processes and: -m gtr_agent.train --resume {out}"


def _train(settings: Settings, out: Path, resume: bool = False) -> Path:
    """Train; what stops it says how to go on.

    Raises:
        GtrError: as :func:`gtr_agent.train.train`.
        OutputError: the folder cannot be made or written, as where the disk is full.
    """
    from safetensors import SafetensorError

    from gtr_agent.launch import is_main_process
    from gtr_agent.run_folder import CONFIG
    from gtr_agent.stopping import Interrupted
    from gtr_agent.train import train
    from gtr_envs.errors import CostCapError, EndpointError, GtrError, MissingReplyError, OutputError

    resumable = how_to_go_on(out)
    try:
        return train(settings, out, resume)
    except (CostCapError, EndpointError, MissingReplyError) as error:  # raised while it trains: its folder is there
        raise type(error)(f"{error}. Once that is mended, {resumable}") from error
    except (OSError, SafetensorError) as error:  # the latter is how safetensors tells of a full disk
        why = error.__cause__ if isinstance(error, OutputError) else error  # its own advice is for other commands
        if isinstance(why, GtrError):
            raise
        then = f"then {resumable}" if (out / CONFIG).is_file() else "or choose another --out"
        raise OutputError(
            f"cannot write into {out}: {why or error}; make room or give leave to write, {then}"
        ) from error
    except KeyboardInterrupt as stop:
        if settings.method != "sft" and (out / CONFIG).is_file() and is_main_process():
            print(f"stopped; {resumable}", file=sys.stderr)
        if isinstance(stop, Interrupted) and stop.number != signal.SIGINT:
            raise SystemExit(128 + stop.number) from stop  # what the shell says of a process that it ended
        raise


def settings_rows() -> Iterator[tuple[str, str, str, str]]:
    """Every setting: its name with its section, what it may be, its default, what it means."""
    from gtr_agent.settings import Section, Settings

    def rows(section: type[Section], prefix: str) -> Iterator[tuple[str, str, str, str]]:
        for name, field in section.model_fields.items():
            kind: Any = field.annotation
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from rows(kind, f"{prefix}{name}.")
            else:
                default = field.get_default(call_default_factory=True)
                yield prefix + name, _kind_in_words(kind), _as_toml(default), field.description or ""

    yield from rows(Settings, "")


def _kind_in_words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return " | ".join(str(value) for value in get_args(kind))
    if origin in (Union, UnionType):
        return " | ".join(_kind_in_words(part) for part in get_args(kind) if part is not type(None))
    if origin in (tuple, list):
        return f"list of {_kind_in_words(get_args(kind)[0])}"
    names = {bool: "true | false", int: "whole number", float: "number", str: "text"}
    return names.get(kind, "table" if origin is dict else getattr(kind, "__name__", str(kind)))


def _as_toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


class CommandWithSettings(TyperCommand):
    """A command whose help ends with a table of all settings."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the command's own help, then the settings."""
        super().format_help(ctx, formatter)
        formatter.write("\nSettings, changed by --set NAME=VALUE:\n")
        for name, kind, default, meaning in settings_rows():
            formatter.write(f"\n  {name} = {default}   [{kind}]\n")
            formatter.write(f"      {meaning}\n")


def main() -> None:
    """``python -m gtr_agent.train``, which ``accelerate launch`` or ``torchrun`` starts in each process."""
    from gtr_agent.launch import is_main_process, process_count

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @app.command(cls=CommandWithSettings)
    def command(
        out: Out = None,
        preset: Preset = None,
        config: Config = None,
        overrides: Overrides = None,
        init: Init = None,
        resume: Resume = None,
    ) -> None:
        """Train an agent; see gtr-bench train."""
        from gtr_envs.errors import GtrError

        try:
            made = run_train(out, preset, config, overrides, init, resume)
        except GtrError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error
        if is_main_process():
            print(f"trained agent: {made}")

    if process_count() == 1:
        app()
    else:
        _one_of_several(app)


def _one_of_several(app: Callable[[], object]) -> None:
    """Run a command as one process of several: where it fails, it ends at once, and so the launcher ends the others.

    An orderly end could wait for what the others will never answer.
    """
    code: int | str | None = 0
    try:
        app()
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code if isinstance(code, int) else 1)
    from gtr_agent.ranks import part

    part()
