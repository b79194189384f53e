"""How fast training runs and where its time goes: environment steps per second, plain PPO beside GTR-Turbo (KL).

    .venv/bin/python benchmarks/training.py --base runs/quickstart/warm-start

The two methods take turns, so that a busy machine slows both. The teacher's cost is also given as what the guided runs
spend on it relative to all else that they do, in the very same updates: other runs' noise has no part in that figure.
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

PARTS = ("collect", "score", "teacher", "update", "merge", "save")
METHODS = ("ppo", "gtr-turbo-kl")


def updates_of(method: str, base: str, preset: str, updates: int, folder: Path) -> list[dict[str, float]]:
    """Train a little and return the records of its updates; the first, which warms up, is left out."""
    settings = load_settings(preset, overrides=[f"method={method}", f"model.base={base}", f"ppo.updates={updates + 1}"])
    train(settings, folder)
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()][1:]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="tiny", help="a warm-started model; the random one writes longer answers")
    parser.add_argument("--preset", default="tiny-points24")
    parser.add_argument("--updates", type=int, default=2, help="measured updates in each round")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    records: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for method in METHODS:
                place = Path(folder) / f"{method}-{number}"
                records[method] += updates_of(method, arguments.base, arguments.preset, arguments.updates, place)

    console = Console(highlight=False)
    table = Table(title=f"{arguments.preset}: median seconds an update")
    for name in ("method", *PARTS, "all", "steps/s"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, found in records.items():
        medians = [statistics.median(record.get(f"seconds_{part}", 0.0) for record in found) for part in PARTS]
        total = statistics.median(record["seconds"] for record in found)
        speed = statistics.median(record["steps_per_second"] for record in found)
        table.add_row(method, *(f"{value:.2f}" for value in medians), f"{total:.2f}", f"{speed:.0f}")
    console.print(table)
    guided = records["gtr-turbo-kl"]
    shares = [
        (record["seconds_teacher"] + record["seconds_merge"])
        / (record["seconds"] - record["seconds_teacher"] - record["seconds_merge"])
        for record in guided
    ]
    console.print(f"teacher (scoring and merging) on top of the rest: {statistics.median(shares):.1%}")


if __name__ == "__main__":
    main()
