"""How fast the card environments are: steps with their frames, resets, vectorised frames, and the slowest formulas.

    .venv/bin/python benchmarks/cards.py

Every measurement takes turns with the physical limit of anything that hands out pictures, the copying of one 300 x 300
x 3 array, so that a busy machine slows both. That array stays in the processor's caches; a batch of 64 does not, so its
copying has a line of its own. With a batch of this size the environments use a second processor, if one is free.

Players act at random among all actions, or among those that are not illegal, which wins and searches more. The best and
the median of all rounds are given, and the median share of the limit. Nothing is warmed up beforehand: what the first
rounds cost is part of the figures.
"""

from __future__ import annotations

import argparse
import statistics
import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

from gtr_envs.cards.formula import evaluate
from gtr_envs.cards.python_expression import python_value

POINTS24 = "gtr/Points24-v0"
NUM_ENVS = 64
Measurement = Callable[[int], int]  # does that much and returns how many frames, resets or formulas came of it


def copies(shape: tuple[int, ...]) -> Measurement:
    """Copy an array of this shape, as often as is needed to copy so many frames."""
    source = np.ones(shape, np.uint8)
    frames = source.size // (300 * 300 * 3)

    def run(count: int) -> int:
        for _ in range(count // frames):
            source.copy()
        return count // frames * frames

    return run


def steps(env: gym.Env[Any, Any], legal: bool) -> Measurement:
    """Play at random; the actions are drawn beforehand, from all or, with `legal`, by looking them up in the mask."""
    random = np.random.default_rng(0)
    _, first = env.reset(seed=0)
    actions = int(env.action_space.n)  # type: ignore[attr-defined]
    state = {"info": first}

    def run(count: int) -> int:
        info = state["info"]
        for draw in random.random(count).tolist():
            allowed = info["action_mask"].nonzero()[0] if legal else range(actions)
            _, _, terminated, truncated, info = env.step(allowed[int(draw * len(allowed))])
            if terminated or truncated:
                _, info = env.reset()
        state["info"] = info
        return count

    return run


def resets(env: gym.Env[Any, Any]) -> Measurement:
    """Begin episodes."""
    env.reset(seed=0)

    def run(count: int) -> int:
        for _ in range(count):
            env.reset()
        return count

    return run


def vector_steps(envs: gym.vector.VectorEnv[Any, Any, Any]) -> Measurement:
    """Play many at random side by side."""
    random = np.random.default_rng(0)
    envs.reset(seed=0)
    actions = int(envs.single_action_space.n)  # type: ignore[attr-defined]

    def run(count: int) -> int:
        for chosen in random.integers(actions, size=(count // envs.num_envs, envs.num_envs)):
            envs.step(chosen)
        return count // envs.num_envs * envs.num_envs

    return run


def rate(run: Measurement, count: int) -> float:
    """How many a second."""
    start = time.perf_counter()
    done = run(count)
    return done / (time.perf_counter() - start)


def measurements() -> dict[str, Measurement]:
    """What is measured."""
    vector = {"num_envs": NUM_ENVS, "vectorization_mode": "vector_entry_point"}
    return {
        "copying one frame": copies((300, 300, 3)),
        f"copying {NUM_ENVS} frames in one array": copies((NUM_ENVS, 300, 300, 3)),
        "Points24: step + frame": steps(gym.make(POINTS24).unwrapped, legal=False),
        "Points24: legal actions only": steps(gym.make(POINTS24).unwrapped, legal=True),
        "Points24: with the wrappers of make": steps(gym.make(POINTS24), legal=False),
        "Points24: copy=False": steps(gym.make(POINTS24, copy=False).unwrapped, legal=False),
        "Points24: reset + frame": resets(gym.make(POINTS24).unwrapped),
        f"{NUM_ENVS} x Points24: frames": vector_steps(gym.make_vec(POINTS24, **vector)),
        f"{NUM_ENVS} x Points24: copy=False": vector_steps(gym.make_vec(POINTS24, copy=False, **vector)),
        f"{NUM_ENVS} x Points24: SyncVectorEnv": vector_steps(
            gym.make_vec(POINTS24, num_envs=NUM_ENVS, vectorization_mode="sync")
        ),
        **{
            f"{name}: step + frame": steps(gym.make(f"gtr/{name}-v0").unwrapped, legal=False)
            for name in ("EZPoints", "NumberLine", "Blackjack")
        },
        "Points24: theme distorted": steps(gym.make(POINTS24, theme="distorted").unwrapped, legal=False),
    }


def slowest_formulas(rounds: int) -> dict[str, float]:
    """Milliseconds for formulas made to be slow to judge, the fastest of some rounds each."""
    long_numbers = [str(10**17 + 7 * number) for number in range(32)]
    strict = {
        "a sum of fractions, 63 tokens": " + ".join(f"{top} / {bottom}" for top, bottom in in_pairs(long_numbers)),
        "parentheses, 63 tokens": "( " * 31 + "7" + " )" * 31,
        "more tokens than are read": "1 + " * 5000 + "1",
        "more digits than are read": "9" * 5000,
    }
    gym_cards = {
        "powers, 200 characters": "*".join(["99**99"] * 28),
        "a tower of powers": "9**9**9**9",
        "parentheses, 199 characters": "(" * 99 + "7" + ")" * 99,
        "more characters than are read": "9*" * 5000 + "9",
    }
    cases: dict[str, Callable[[], Any]] = {}
    cases |= {f"strict: {name}": partial(evaluate, text.split()) for name, text in strict.items()}
    cases |= {f"gym_cards: {name}": partial(python_value, text) for name, text in gym_cards.items()}
    return {name: 1000 * min(timeit.repeat(run, number=1, repeat=rounds)) for name, run in cases.items()}


def in_pairs(values: list[str]) -> list[tuple[str, str]]:
    """The values in pairs."""
    return list(zip(values[::2], values[1::2], strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=6400, help="steps or resets in each round")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    cases = measurements()
    limit = copies((300, 300, 3))
    rates: dict[str, list[float]] = {name: [] for name in cases}
    shares: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, run in cases.items():
            most = rate(limit, arguments.count)
            rates[name].append(rate(run, arguments.count))
            shares[name].append(rates[name][-1] / most)

    console = Console(highlight=False)
    table = Table(title=f"a second, in {arguments.rounds} rounds of {arguments.count:,}")
    for heading in ("", "median", "best", "of the limit"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, found in rates.items():
        share = statistics.median(shares[name])
        table.add_row(name, f"{statistics.median(found):,.0f}", f"{max(found):,.0f}", f"{share:.0%}")
    console.print(table)
    table = Table(title="milliseconds to judge a hostile formula")
    table.add_column("")
    table.add_column("ms", justify="right")
    for name, milliseconds in slowest_formulas(20).items():
        table.add_row(name, f"{milliseconds:.3f}")
    console.print(table)


if __name__ == "__main__":
    main()
