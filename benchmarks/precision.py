"""Which precision is faster on this CPU, and what the quickstart's training and evaluation take by arithmetic.

    .venv/bin/python benchmarks/precision.py

Each precision is measured in a process of its own, as the CPU is and as if it had AVX2 and nothing newer (the
environment variables of oneDNN and torch see to that): a step of the warm start, and an update of 64 turns. Rounds take
turns, so that a busy machine slows all; the best of each is given. Then the floating-point operations of both are
counted (products alone), scaled to the quickstart's, and set against the rate that was reached.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from gtr_agent import sft
from gtr_agent.config import load_settings
from gtr_agent.precision import cpu_name, describe_precision
from gtr_agent.rollout import Collector
from gtr_agent.settings import Settings
from gtr_agent.train import train
from leaderboard.quickstart_plan import BUDGETS, PRESET, SPLITS, START, TURNS_AN_EPISODE

AS_IF = {
    "as it is": {},
    "as if AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}
ENVS, TURNS = 16, 4
Numbers = dict[str, float]


def settings(precision: str, *changes: str) -> Settings:
    """The quickstart's, with less work."""
    small = [f"rollout.num_envs={ENVS}", f"rollout.turns={TURNS}", f"ppo.batch_size={ENVS * TURNS}", "ppo.updates=3"]
    return load_settings(PRESET, overrides=[*small, f"model.precision={precision}", *changes])


def measure(precision: str) -> Numbers:
    """Seconds of a warm-start step, and of an update's collecting and its whole; the best of a few."""
    with tempfile.TemporaryDirectory() as folder:
        ticks: list[float] = []

        def tick(*_: Any) -> None:
            ticks.append(time.perf_counter())

        own = settings(precision, "sft.steps=4", "sft.eval_episodes=1")
        with patch.object(sft, "look", lambda *_: {}), patch.object(sft.RunLog, "advance", tick):
            sft.run_sft(own, Path(folder) / "warm")
        updates: list[Numbers] = []
        own = settings(precision, f"model.base={START}")
        train(own, Path(folder) / "run", on_record=lambda number, metrics: updates.append(metrics))
    steps = [late - early for early, late in pairwise(ticks)]
    parts = ("seconds", "seconds_collect")
    return {"step": min(steps), **{part: min(update[part] for update in updates) for part in parts}}


def counted(work: Callable[[], object]) -> float:
    """Floating-point operations of all products in the main thread."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def operations() -> Numbers:
    """Of a warm-start step, of collecting a turn, and of all that an update does with a turn."""
    with tempfile.TemporaryDirectory() as folder:
        own = settings("float32", "threads=1", "sft.steps=1", "sft.eval_episodes=1")
        with patch.object(sft, "look", lambda *_: {}):
            step = counted(lambda: sft.run_sft(own, Path(folder) / "warm"))
        collecting: list[float] = []
        collect = Collector.collect

        def counted_collect(collector: Collector) -> Any:
            found: list[Any] = []
            collecting.append(counted(lambda: found.append(collect(collector))))
            return found[0]

        def trained(updates: int) -> float:
            own = settings("float32", "threads=1", f"model.base={START}", f"ppo.updates={updates}")
            return counted(lambda: train(own, Path(folder) / str(updates)))

        with patch.object(Collector, "collect", counted_collect):
            first, both = trained(1), trained(2)  # the first update also fits the value head
    turns = ENVS * TURNS
    return {"step": step, "collect": collecting[-1] / turns, "turn": (both - first) / turns}


def table_of(found: dict[tuple[str, str], Numbers]) -> Table:
    """Seconds of each precision, and of bfloat16 relative to float32."""
    table = Table(title="seconds, the best of all rounds", title_justify="left")
    for head in ("CPU", "work", "float32", "bfloat16", "bfloat16 / float32"):
        table.add_column(head)
    for kind in AS_IF:
        for part, what in (("step", "a warm-start step"), ("seconds", f"an update of {ENVS * TURNS} turns")):
            one, other = (found[kind, precision][part] for precision in ("float32", "bfloat16"))
            table.add_row(kind, what, f"{one:.3f}", f"{other:.3f}", f"{other / one:.2f}")
    return table


def arithmetic(found: dict[tuple[str, str], Numbers]) -> Table:
    """The quickstart's operations, and what they take at the rate that was reached."""
    each = operations()
    whole = load_settings(PRESET)
    turns = whole.ppo.updates * whole.rollout.num_envs * whole.rollout.turns
    played = 2 * len(SPLITS) * BUDGETS["full"].n_episodes * TURNS_AN_EPISODE
    small = ENVS * TURNS
    table = Table(title="the quickstart's products, by arithmetic", title_justify="left")
    for head in ("work", "operations", "float32, as it is", "float32, as if AVX2"):
        table.add_column(head)
    for what, count, part, unit in (
        (f"training, {turns:,} turns", turns * each["turn"], "seconds", turns / small),
        (f"evaluation, {played:,} turns", played * each["collect"], "seconds_collect", played / small),
        (f"--from-scratch, {whole.sft.steps} steps", whole.sft.steps * each["step"], "step", float(whole.sft.steps)),
    ):
        taken = [found[kind, "float32"][part] * unit for kind in AS_IF]
        cells = (f"{seconds:.0f} s, {count / seconds / 1e9:.1f} G/s" for seconds in taken)
        table.add_row(what, f"{count / 1e12:.2f} T", *cells)
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", metavar="PRECISION", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    found: dict[tuple[str, str], Numbers] = {}
    for _ in range(arguments.rounds):
        for kind, variables in AS_IF.items():
            for precision in ("float32", "bfloat16"):
                command = [sys.executable, __file__, "--measure", precision]
                done = subprocess.run(
                    command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
                )
                new = json.loads(done.stdout.splitlines()[-1])
                old = found.get((kind, precision), new)
                found[kind, precision] = {name: min(old[name], value) for name, value in new.items()}
    console = Console(highlight=False)
    console.print(f"{cpu_name()}, {os.cpu_count()} cores; model.precision=auto is {describe_precision('cpu')}")
    console.print(table_of(found), arithmetic(found))


if __name__ == "__main__":
    main()
