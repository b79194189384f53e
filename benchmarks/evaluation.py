"""How fast an evaluation is: 1,000 Points24 episodes of the expert, and what the command line costs before it starts.

    .venv/bin/python benchmarks/evaluation.py

Each measurement is a process of its own, started cold as a user starts it, and stands beside what it cannot be faster
than: the interpreter that starts and does nothing, and the same episodes played by the same loop with nothing kept.
Rounds take turns, so that a busy machine slows both; the best and the median of them are given, and the median's share
of the time that is allowed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

EPISODES = 1000
PLAY = """
from gtr_envs.episode import episode_seeds, play
from gtr_envs.experts import SolverPolicy
from gtr_envs.text_actions import make_text_env
seeds = episode_seeds(0, {n})
won = sum(e.success for e in play(SolverPolicy(), lambda: make_text_env("gtr/Points24-v0"), seeds, batch_size=128))
assert won == {n}
"""


@dataclass(frozen=True)
class Measurement:
    """A command that is measured, and the seconds that it may take; None where there is no such limit."""

    name: str
    command: list[str]
    allowed: float | None = None


def measurements(n_episodes: int, out: Path) -> list[Measurement]:
    """What is measured. The last one finds the evaluation before it done, and reads it back."""
    bench = [sys.executable, "-m", "leaderboard.cli"]
    evaluation = [*bench, "eval", "--agent", "expert", "--episodes", str(n_episodes), "--out", str(out)]
    return [
        Measurement("the interpreter alone", [sys.executable, "-c", "pass"]),
        Measurement("gtr-bench --help", [*bench, "--help"], 0.5),
        Measurement(f"{n_episodes} episodes, nothing kept", [sys.executable, "-c", PLAY.format(n=n_episodes)]),
        Measurement(f"gtr-bench eval, {n_episodes} episodes", evaluation, 10.0 * n_episodes / EPISODES),
        Measurement("the same again, finding it done", evaluation),
    ]


def seconds(command: list[str]) -> float:
    """How long a process takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--episodes", type=int, default=EPISODES)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for one in measurements(arguments.episodes, Path(folder) / str(number)):
                found.setdefault(one.name, []).append(seconds(one.command))
        table = Table("", "best, s", "median, s", "allowed, s", "share of it")
        for one in measurements(arguments.episodes, Path(folder)):
            times = found[one.name]
            median = statistics.median(times)
            limit = ("", "") if one.allowed is None else (f"{one.allowed:g}", f"{median / one.allowed:.0%}")
            table.add_row(one.name, f"{min(times):.2f}", f"{median:.2f}", *limit)
    Console().print(table)


if __name__ == "__main__":
    main()
