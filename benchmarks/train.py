"""How fast training runs and where its time goes: environment steps per second of each method, and what each costs
over plain PPO.

    .venv/bin/python benchmarks/train.py --base runs/quickstart/warm-start

The methods take turns, so that a busy machine slows all. The cost of GTR-Turbo (KL)'s teacher is also given as what its
runs spend on it relative to all else that they do, in the very same updates: other runs' noise has no part in that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gtr_agent.config import load_settings
from gtr_agent.train import train

PARTS = ("collect", "score", "teacher", "imitate", "update", "merge")
METHODS = ("ppo", "gtr-turbo-kl", "gtr-turbo-sft", "gtr", "opd")


def updates_of(method: str, base: str, preset: str, updates: int, folder: Path) -> list[dict[str, float]]:
    """Train a little and return the records of its updates; the first, which warms up, is left out."""
    changes = [f"method={method}", f"model.base={base}", f"ppo.updates={updates + 1}"]
    if method == "opd":  # its cost does not depend on who teaches
        changes.append(f"guidance.teacher={base}")
    train(load_settings(preset, overrides=changes), folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()][1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="a warm-started model's folder; a random one rambles")
    parser.add_argument("--preset", default="tiny-points24")
    parser.add_argument("--updates", type=int, default=2, help="measured updates in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="plain PPO is always among them")
    arguments = parser.parse_args()
    methods = ["ppo", *(method for method in arguments.methods if method != "ppo")]
    records: dict[str, list[dict[str, float]]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for method in methods:
                place = Path(folder) / f"{method}-{number}"
                records[method] += updates_of(method, arguments.base, arguments.preset, arguments.updates, place)

    console = Console(highlight=False)
    table = Table(title=f"{arguments.preset}: median seconds an update")
    for name in ("method", *PARTS, "all", "steps/s", "over PPO"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, found in records.items():
        medians = [statistics.median(record.get(f"seconds_{part}", 0.0) for record in found) for part in PARTS]
        total = statistics.median(record["seconds"] for record in found)
        speed = statistics.median(record["steps_per_second"] for record in found)
        plain = statistics.median(record["seconds"] for record in records["ppo"])
        over = "" if method == "ppo" else f"{total / plain - 1:+.0%}"
        table.add_row(method, *(f"{value:.2f}" for value in medians), f"{total:.2f}", f"{speed:.0f}", over)
    console.print(table)
    guided = records.get("gtr-turbo-kl")
    if not guided:
        return
    shares = [
        (record["seconds_teacher"] + record["seconds_merge"])
        / (record["seconds"] - record["seconds_teacher"] - record["seconds_merge"])
        for record in guided
    ]
    console.print(f"teacher (scoring and merging) on top of the rest: {statistics.median(shares):.1%}")


if __name__ == "__main__":
    main()
