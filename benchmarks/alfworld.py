"""How fast ALFWorld is: games made and begun, steps, pictures, memory, beside the engine as it is installed.

    .venv/bin/python benchmarks/alfworld.py

The engine as installed plays the same generated games with the same commands in the same run, fewer of them. What is
"cached" was translated before, in this run, into a folder of its own that is deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

# This file is called as the package that it measures, and its folder is searched first.
sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).resolve().parent]

from gtr_envs.alfworld.draw import draw_view  # noqa: E402 - after the line above
from gtr_envs.alfworld.engine import Engine  # noqa: E402 - after the line above
from gtr_envs.alfworld.env import ALFWorldEnv  # noqa: E402 - after the line above
from gtr_envs.alfworld.generate import generate_game  # noqa: E402 - after the line above

Times = dict[str, list[float]]


def timed(times: Times, name: str, run: Callable[[], Any]) -> Any:
    """Run, note the milliseconds, and return what came of it."""
    start = time.perf_counter()
    made = run()
    times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
    return made


def ours(games: list[dict[str, Any]], steps: int, times: Times) -> None:
    """The fast engine, each game for the first time and again."""
    engine = Engine()
    for game in games:
        timed(times, "engine: load and reset, translated now", lambda game=game: engine.reset(game))
    for game in games:
        random = np.random.default_rng(0)
        state = timed(times, "engine: load and reset, cached", lambda game=game: Engine.reset(engine, dict(game)))
        for _ in range(steps):
            command = state.admissible_commands[int(random.integers(len(state.admissible_commands)))]
            state = timed(times, "engine: step", lambda command=command: engine.step(command))


def installed(games: list[dict[str, Any]], steps: int, times: Times) -> None:
    """textworld's own engine with alfworld's names."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs.pddl import PddlEnv

    infos = textworld.EnvInfos(facts=True, won=True, admissible_commands=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "game.tw-pddl"
        for game in games:
            path.write_text(json.dumps(game))
            env = AlfredDemangler(PddlEnv(infos))
            random = np.random.default_rng(0)
            state = timed(times, "as installed: load and reset", lambda env=env: (env.load(str(path)), env.reset())[1])
            for _ in range(steps):
                commands = state["admissible_commands"]
                command = commands[int(random.integers(len(commands)))]
                state = timed(times, "as installed: step", lambda env=env, command=command: env.step(command)[0])


def environment(episodes: int, steps: int, times: Times) -> None:
    """The environment with its pictures, on generated rooms."""
    env = ALFWorldEnv(data="generated")
    for episode in range(episodes):
        for name in ("environment: reset, new room", "environment: reset, cached room"):
            _, info = timed(times, name, partial(env.reset, seed=episode))
        random = np.random.default_rng(episode)
        for _ in range(steps):
            commands = info["admissible_commands"]
            command = commands[int(random.integers(len(commands)))]
            *_, terminated, truncated, info = timed(times, "environment: step with picture", partial(env.step, command))
            timed(times, "picture alone", partial(draw_view, info["views"][-1]))
            if terminated or truncated:
                break


def megabytes() -> float:
    """What the process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=30)
    parser.add_argument(
        "--installed", type=int, default=5, help="games for the engine as installed, which takes seconds"
    )
    parser.add_argument("--steps", type=int, default=12, help="in each game")
    parser.add_argument("--loads", type=int, default=0, help="games to begin for the memory figures, such as 2000")
    arguments = parser.parse_args()
    times: Times = {}
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GTR_CACHE"] = folder
        made = [
            timed(times, "generating a game", lambda number=number: generate_game(np.random.default_rng(number)))
            for number in range(arguments.games)
        ]
        games = [each.game for each in made]
        installed(games[: arguments.installed], arguments.steps, times)
        ours(games, arguments.steps, times)
        environment(arguments.games, arguments.steps, times)
        table = Table(title="milliseconds")
        for heading in ("", "median", "mean", "worst", "times"):
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for name, found in times.items():
            figures = (statistics.median(found), statistics.fmean(found), max(found))
            table.add_row(name, *(f"{value:.2f}" for value in figures), f"{len(found)}")
        console.print(table)
        engine = Engine()
        for number in range(arguments.loads):
            engine.reset(dict(games[number % len(games)]))
            if number in (arguments.loads // 10, arguments.loads - 1):
                console.print(f"after {number + 1} games begun: {megabytes():.0f} MB")


if __name__ == "__main__":
    main()
