"""How fast training runs and where its time goes: environment steps per second of each method, and what each costs
over plain PPO.

    .venv/bin/python benchmarks/train.py
    .venv/bin/python benchmarks/train.py --set ppo.epochs=4

The methods take turns, so that a busy machine slows all. The cost of GTR-Turbo (KL)'s teacher is also given as what its
runs spend on it relative to all else that they do, in the very same updates: other runs' noise has no part in that.
Then: what a whole merge of the model's teacher takes, by the number of checkpoints merged so far.

    .venv/bin/python benchmarks/train.py --model-shape qwen2.5-vl-7b --device cuda --turns 2

builds a published architecture with random weights, downloading nothing, and trains it for an update that warms up and
one that counts: seconds of each part, tokens a second, memory, and the hours that the paper's 30,720 env steps would
take at that speed. Random weights never end an answer, so all are as long as --answer-tokens says; its default, 150, is
about what the paper's thoughts and actions take. Fewer --turns make it quicker and fewer --envs smaller; the hours are
scaled by the number of turns. That overstates them a little: fewer environments decode less efficiently, and the state
in which each is interrupted at an update's end is looked at once an update, however few turns it has.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from merging import merge_growth
from rich.console import Console
from rich.table import Table
from shapes import shape_names
from train_parts import PARTS, Record, median, metered, read_records, rest, settings_of, tokens_per_second
from train_shape import Plan, report

from gtr_agent.model import choose_device
from gtr_agent.train import train
from gtr_envs.errors import GtrError
from leaderboard.quickstart_plan import START

METHODS = ("ppo", "gtr-turbo-kl", "gtr-turbo-sft", "gtr", "opd")
WIDTH = 170
"""Columns of the printed tables where they do not go to a terminal."""


def updates_of(
    method: str, base: str, preset: str, updates: int, folder: Path, changes: Sequence[str] = (), device: str = "cpu"
) -> list[Record]:
    """Train a little and return the records of its updates; the first, which warms up, is left out.

    Args:
        method: how.
        base: the warm-started model's folder.
        preset: whose settings are trained with.
        updates: how many are measured.
        folder: a new one for the run.
        changes: further settings, ``section.key=value``.
        device: where the model goes.
    """
    own = [f"method={method}", f"model.base={base}", f"ppo.updates={updates + 1}", f"model.device={device}"]
    if method == "opd":  # its cost does not depend on who teaches
        own.append(f"guidance.teacher={base}")
    with metered(device):
        train(settings_of(preset, [*own, *changes]), folder)
    return read_records(folder)[1:]


def table_of_methods(title: str, records: Mapping[str, Sequence[Record]]) -> Table:
    """Each method's median seconds an update, by part, and what it costs over plain PPO.

    Args:
        title: of the table.
        records: the measured updates of each method, plain PPO's among them.
    """
    table = Table(title=title)
    for name in ("method", *PARTS, "rest", "all", "steps/s", "over PPO", "tokens/s", "peak GB"):
        table.add_column(name, justify="left" if name == "method" else "right")
    plain = median(records["ppo"], "seconds")
    for method, found in records.items():
        table.add_row(
            method,
            *(f"{median(found, f'seconds_{part}'):.2f}" for part in PARTS),
            f"{rest(found):.2f}",
            f"{median(found, 'seconds'):.2f}",
            f"{median(found, 'steps_per_second'):.0f}",
            "" if method == "ppo" else f"{median(found, 'seconds') / plain - 1:+.0%}",
            f"{tokens_per_second(found):.0f}",
            f"{max(record['peak_memory'] for record in found) / 1e9:.2f}",
        )
    return table


def teacher_share(records: Sequence[Record]) -> float:
    """What scoring with the teacher and merging cost on top of all else, the median over updates."""
    teachers = [record["seconds_teacher"] + record["seconds_merge"] for record in records]
    return statistics.median(own / (record["seconds"] - own) for own, record in zip(teachers, records, strict=True))


def compare_methods(arguments: argparse.Namespace, console: Console) -> None:
    """Measure the methods in turns, and print."""
    methods = ["ppo", *(method for method in arguments.methods if method != "ppo")]
    records: dict[str, list[Record]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for method in methods:
                place = Path(folder) / f"{method}-{number}"
                records[method] += updates_of(
                    method,
                    arguments.base,
                    arguments.preset,
                    arguments.updates,
                    place,
                    arguments.changes,
                    arguments.device,
                )
    changed = "".join(f", {change}" for change in arguments.changes)
    console.print(table_of_methods(f"{arguments.preset}{changed}: median seconds an update", records))
    if "gtr-turbo-kl" in records:
        share = teacher_share(records["gtr-turbo-kl"])
        console.print(f"teacher (scoring and merging) on top of the rest: {share:.1%}")
    console.print(merge_growth(arguments.device))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="the warm start, by default tiny:points24; a random model rambles")
    parser.add_argument("--preset", help="by default tiny-points24; of a shape points24-qwen2.5-vl-7b")
    parser.add_argument("--updates", type=int, help="measured updates in each round, by default 2; of a shape 1")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="plain PPO is always among them")
    parser.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "--set", dest="changes", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a setting"
    )
    shape = parser.add_argument_group("an architecture with random weights")
    shape.add_argument("--model-shape", choices=["tiny", *shape_names()])
    shape.add_argument("--answer-tokens", type=int, default=150, help="how long answers are, by default %(default)s")
    shape.add_argument("--envs", type=int, help="environments side by side; by default the preset's")
    shape.add_argument("--turns", type=int, help="turns of each in an update; by default the preset's")
    shape.add_argument("--warm-up", type=int, default=1, help="updates before those that are measured")
    shape.add_argument(
        "--merge-space",
        default="factors",
        choices=["factors", "delta"],
        help="what is merged; delta is the trainer's own default",
    )
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    command = parser()
    arguments = command.parse_args(words)
    if arguments.base is not None and arguments.model_shape is not None:
        command.error("give either --base or --model-shape")
    if arguments.base is None and arguments.model_shape is None:
        if arguments.preset not in (None, "tiny-points24"):
            command.error(f"name the warm start for --preset {arguments.preset} with --base")
        arguments.base = START
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, WIDTH)
    try:
        arguments.device = choose_device(arguments.device)
        if arguments.model_shape is None:
            arguments.preset = arguments.preset or "tiny-points24"
            arguments.updates = arguments.updates or 2
            compare_methods(arguments, console)
            return
        plan = Plan(
            arguments.model_shape,
            arguments.device,
            arguments.preset or "points24-qwen2.5-vl-7b",
            arguments.answer_tokens,
            arguments.envs,
            arguments.turns,
            arguments.updates or 1,
            arguments.warm_up,
            arguments.merge_space,
            arguments.changes,
        )
        report(plan, console)
    except GtrError as error:
        command.error(str(error))


if __name__ == "__main__":
    main()
