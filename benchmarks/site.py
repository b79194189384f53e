"""How long the leaderboard's pages take, stage by stage.

    .venv/bin/python benchmarks/site.py
    .venv/bin/python benchmarks/site.py --agents 200 --seeds 1 --splits all --envs gtr/Points24-v0

Makes results with agents that cost nothing (one that plays at random, one that solves most hands, one whose answers
often cannot be read), then builds the pages in a process of its own, as ``gtr-bench leaderboard`` does: by default 200
results, of 25 agents on two environments, two splits or seeds each, with 200 episodes. Prints a table; --keep keeps the
folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gtr_envs.episode import Request, Response
from gtr_envs.experts import RandomPolicy, SolverPolicy
from gtr_envs.protocol import write_answer
from leaderboard.agents import AgentCard
from leaderboard.evaluate import evaluate
from leaderboard.options import option_defaults
from leaderboard.site.build import write_site
from leaderboard.summary import find_results

TARGET_S = 20.0


class Mixed:
    """Plays the solver's answer, a random action or something unreadable, each with a chance of its own.

    Args:
        number: which agent of this kind; its chances follow from it.
    """

    def __init__(self, number: int) -> None:
        self.name = f"agent-{number:03d}"
        self.solver, self.random = SolverPolicy(), RandomPolicy()
        self.chances = (0.5 + 0.5 * (number % 7) / 6, 0.02 * (number % 3))

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of questions."""
        solved, played = self.solver.act(requests), self.random.act(requests)
        return [self._one(*answers) for answers in zip(requests, solved, played, strict=True)]

    def _one(self, request: Request, solved: Response, played: Response) -> Response:
        right, broken = self.chances
        draw = request.rng.random()
        if draw < broken:
            return Response("I think " + "that is hard to say. " * 8, 40, 40)
        if draw < right:
            return Response(solved.text, 45, 40)
        thoughts = "perhaps this one goes well with the others, since it is there; " * 2
        action = self.random.act([request])[0].text.rsplit('"action": "', 1)[-1].split('"')[0]
        return Response(write_answer({"thoughts": thoughts, "action": action}), 45, 40)


def make_results(folder: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    """Evaluate the agents; returns how many results and episodes there are."""
    results = 0
    for number in range(arguments.agents):
        policy = Mixed(number)
        card = AgentCard(policy.name, "benchmark", method="mixed")
        for env_id in arguments.envs:
            has_splits = "split" in option_defaults(env_id)
            options = [{"split": split} for split in arguments.splits] if has_splits else [{}]
            seeds = arguments.seeds if has_splits else arguments.seeds * len(arguments.splits)
            for seed in range(seeds):
                for option in options:
                    evaluate(
                        policy,
                        env_id,
                        option,
                        agent=card,
                        seed=seed,
                        n_episodes=arguments.episodes,
                        out_dir=folder,
                        batch_size=256,
                    )
                    results += 1
    return results, results * arguments.episodes


def stages(results: Path, out: Path) -> list[tuple[str, float]]:
    """Read the results and build the pages here, and say how long each took."""
    start = time.perf_counter()
    found = find_results([results])
    read = time.perf_counter()
    write_site(out, found)
    return [("reading the results", read - start), ("building the pages", time.perf_counter() - read)]


def main() -> None:
    """Make results, build, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=25)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--splits", nargs="+", default=["train", "test"])
    parser.add_argument("--envs", nargs="+", default=["gtr/Points24-v0", "gtr/NumberLine-v0"])
    parser.add_argument("--keep", type=Path, help="make the results here, or take those that are there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        start = time.perf_counter()
        n_results, n_episodes = make_results(folder / "results", arguments)
        made = time.perf_counter() - start
        size = sum(path.stat().st_size for path in (folder / "results").rglob("episodes.jsonl"))
        table = Table(title=f"{n_results} results, {n_episodes} episodes, {size / 1e6:.0f} MB of records")
        table.add_column("stage")
        table.add_column("seconds", justify="right")
        table.add_row("making the results, once", f"{made:.1f}")
        for name, seconds in stages(folder / "results", folder / "site-here"):
            table.add_row(name, f"{seconds:.1f}")
        command = [sys.executable, "-m", "leaderboard.cli", "leaderboard", str(folder / "results")]
        start = time.perf_counter()
        outputs = ["--csv", str(folder / "leaderboard.csv"), "--html", str(folder / "site")]
        subprocess.run([*command, *outputs], check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - start
        table.add_row("gtr-bench leaderboard --csv --html, as a whole", f"{whole:.1f}")
        Console(highlight=False).print(table, f"target: {TARGET_S:.0f} s")


if __name__ == "__main__":
    main()
