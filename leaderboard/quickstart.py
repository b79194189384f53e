"""The quickstart: from nothing to a ranked agent, on a CPU.

Each stage leaves a folder; what is finished is noted in ``quickstart.json``, so the same command goes on where it
stopped. Nothing here is special to it: each stage is one of the commands that are printed at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_envs.errors import CheckpointError, OutputExistsError, SettingError
from leaderboard.agents import describe_agent, load_agent
from leaderboard.cli_parts import print_table
from leaderboard.evaluate import evaluate
from leaderboard.progress import evaluation_progress
from leaderboard.provenance import package_version
from leaderboard.records import LOCK, locked, write_atomic
from leaderboard.site import write_site
from leaderboard.standings import compare, standings, standings_table
from leaderboard.summary import Result
from leaderboard.table import write_csv

if TYPE_CHECKING:
    from rich.console import Console

PRESET = "tiny-points24"
ENV_ID = "gtr/Points24-v0"
SPLITS = ("train", "test", "all")
BOTH_SIDES = "--split train --split test"
BATCH_SIZE = 256
STATE = "quickstart.json"
WARM_START, TRAINED = "warm-start", "gtr-turbo-kl"


@dataclass(frozen=True)
class Budget:
    """How much work is done: changes to the preset's settings, and episodes for each agent and split."""

    overrides: tuple[str, ...]
    n_episodes: int


BUDGETS = {
    "full": Budget((), 150),
    "toy": Budget(
        (
            "sft.steps=2",
            "sft.batch_size=4",
            "sft.text_batch_size=4",
            "sft.fact_batch_size=4",
            "sft.eval_every=0",
            "sft.eval_episodes=2",
            "rollout.num_envs=4",
            "rollout.turns=4",
            "rollout.max_new_tokens=6",
            "ppo.updates=2",
            "ppo.epochs=1",
            "ppo.batch_size=8",
        ),
        2,
    ),
}


def finished_stages(out: Path, settings: dict[str, Any]) -> dict[str, str]:
    """What a quickstart's folder already holds: where each finished stage's result lies, by the stage's name.

    Args:
        out: the folder.
        settings: what the quickstart was asked for.

    Raises:
        OutputExistsError: the folder holds something else, or a quickstart with other settings.
    """
    mend = "choose another --out, or delete that folder"
    if out.is_file():
        raise OutputExistsError(f"{out} is a file; choose another --out")
    if not (out / STATE).is_file():
        if out.is_dir() and any(path.name != LOCK for path in out.iterdir()):
            raise OutputExistsError(f"{out} holds something else; {mend}")
        return {}
    try:
        state = json.loads((out / STATE).read_text(encoding="utf-8"))
        there, done = dict(state["settings"]), dict(state["done"])
    except (ValueError, KeyError, TypeError) as error:
        raise OutputExistsError(f"{out / STATE} is damaged; {mend}") from error
    for name, value in settings.items():
        if there.get(name) != value:
            raise OutputExistsError(
                f"{out} holds another quickstart: {name} is {there.get(name)!r} there and {value!r} now; {mend}"
            )
    return done


class Stages:
    """Does stages and notes which are done. Arguments as for :func:`finished_stages`, which it begins with."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        self.out = out
        self.settings = settings
        self.done = finished_stages(out, settings)
        self._save()

    def _save(self) -> None:
        text = json.dumps({"settings": self.settings, "done": self.done}, indent=2)
        write_atomic(self.out / STATE, text + "\n")

    def run(
        self, name: str, work: Callable[[Path], Path], go_on: Callable[[Path], Path] | None = None
    ) -> tuple[Path, bool]:
        """Do a stage, or find it done.

        Args:
            name: the stage's name and that of its folder.
            work: fills the folder it is given and returns where the result lies.
            go_on: does the rest of what was interrupted there, or raises a CheckpointError or SettingError where there
                is nothing to go on from; None for a stage that is always begun anew.

        Returns:
            where the result lies, and whether it was there already.
        """
        folder = self.out / name
        if name in self.done and (self.out / self.done[name]).exists():
            return self.out / self.done[name], True
        result: Path | None = None
        if folder.exists():  # an interrupted attempt of ours: the state file says that this folder is the quickstart's
            if go_on is not None:
                with suppress(CheckpointError, SettingError):
                    result = go_on(folder)
            if result is None:
                shutil.rmtree(folder)
        if result is None:
            result = work(folder)
        self.done[name] = str(result.relative_to(self.out))
        self._save()
        return result, False


def train_agents(stages: Stages, seed: int, budget: Budget, terminal: Console) -> tuple[Path, Path]:
    """Make the tiny model, warm-start it, train it; returns the folders of the warm start and of the trained agent."""
    from gtr_agent.config import load_settings
    from gtr_agent.sft import run_sft
    from gtr_agent.tiny import init_tiny
    from gtr_agent.train import train

    def settings(base: Path) -> Any:
        changes = [f"seed={seed}", f"model.base={json.dumps(str(base))}", *budget.overrides]
        return load_settings(PRESET, overrides=changes)

    def stage(title: str, name: str, work: Callable[[Path], Path], go_on: Callable[[Path], Path] | None = None) -> Path:
        terminal.print(f"\n{title}", style="bold")
        start = time.perf_counter()
        path, found = stages.run(name, work, go_on)
        how = "done before" if found else f"{time.perf_counter() - start:.0f} s"
        terminal.print(f"{path} ({how})", soft_wrap=True, highlight=False)
        return path

    def go_on(out: Path) -> Path:
        try:
            return train(settings(warm), out, resume=True)
        except (CheckpointError, SettingError) as error:
            terminal.print(f"training is begun anew: {error}", soft_wrap=True, highlight=False, markup=False)
            raise

    tiny = stage("1/5 A tiny vision-language model with random weights", "tiny", lambda out: init_tiny(out, seed))
    warm = stage("2/5 Warm start on the solver's episodes", WARM_START, lambda out: run_sft(settings(tiny), out))
    agent = stage("3/5 Training with GTR-Turbo (KL)", TRAINED, lambda out: train(settings(warm), out), go_on)
    return warm, agent


def evaluate_agents(
    specs: Sequence[tuple[str, str]], out: Path, seed: int, n_episodes: int, terminal: Console
) -> list[Result]:
    """Evaluate agents, given as (name, spec), on every split; returns the evaluations in that order."""
    terminal.print(f"\n4/5 Evaluation on hands that training never saw, {n_episodes} a split", style="bold")
    results = []
    for name, spec in specs:
        policy = load_agent(spec)
        card = describe_agent(spec, policy, name=name)
        for split in SPLITS:
            with evaluation_progress(terminal, f"{name}, {split} hands") as report:
                results.append(
                    evaluate(
                        policy,
                        ENV_ID,
                        {"split": split},
                        agent=card,
                        seed=seed,
                        n_episodes=n_episodes,
                        out_dir=out,
                        batch_size=BATCH_SIZE,
                        on_progress=report,
                        notice=terminal.print,
                    )
                )
    return results


def comparison_line(results: Sequence[Result], split: str, what: str) -> str:
    """How the trained agent compares with its warm start on the same hands, in one line."""
    first, second = (
        next(result for result in results if (result.meta.agent, result.meta.split) == (name, split))
        for name in (WARM_START, TRAINED)
    )
    found = compare(first, second)
    if found.only_first + found.only_second == 0:
        return f"  on {what}: the same outcome on each of {found.n} hands"
    change = found.difference
    return (
        f"  on {what}: {100 * change.value:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}], "
        f"p = {found.p_value:.2g} (exact McNemar, {found.n} hands)"
    )


def next_steps(out: Path, warm: Path, agent: Path) -> str:
    """The commands to go on with, as they can be typed where this one was."""
    command = "gtr-bench"
    if shutil.which(command) is None and Path(sys.argv[0]).name == command:
        command = os.path.relpath(sys.argv[0])
    return "\n".join(
        (
            f"  look at the episodes   open {out / 'site' / 'index.html'} in a browser",
            f"  evaluate on new hands  {command} eval --agent {agent} --env {ENV_ID} --seed 1 {BOTH_SIDES}",
            f"  train another way      {command} train --preset {PRESET} --set method=ppo --init {warm} --out runs/ppo",
            f"  rank your own          {command} leaderboard {out / 'results'} results/ --csv leaderboard.csv",
            f"  see all commands       {command} --help",
        )
    )


def check_settings(seed: int, budget: Budget) -> None:
    """Read the preset with this seed, so that a mistake is named before anything is written."""
    from gtr_agent.config import load_settings

    load_settings(PRESET, overrides=[f"seed={seed}", *budget.overrides])


def run_quickstart(out: Path, seed: int, budget_name: str, terminal: Console, n_episodes: int | None = None) -> None:
    """Warm-start, train, evaluate and rank a tiny agent.

    Args:
        out: the folder of everything.
        seed: of the model, the training and the evaluation.
        budget_name: ``full`` or ``toy``.
        terminal: where progress and the final table go.
        n_episodes: episodes for each agent and split; the budget's own number if None.

    Raises:
        SettingError: an unknown budget, or a seed that is out of range.
        OutputExistsError: the folder holds something else.
    """
    if budget_name not in BUDGETS:
        raise SettingError(f"unknown budget {budget_name!r}; choose one of {', '.join(BUDGETS)}")
    budget = BUDGETS[budget_name]
    check_settings(seed, budget)
    start = time.perf_counter()
    settings = {"seed": seed, "budget": budget_name, "version": package_version()}
    finished_stages(out, settings)  # before the lock leaves a file in a folder that is not ours
    with locked(out):
        stages = Stages(out, settings)
        warm, agent = train_agents(stages, seed, budget, terminal)
        specs = [("random", "random"), ("expert", "expert"), (WARM_START, str(warm)), (TRAINED, str(agent))]
        results = evaluate_agents(specs, out / "results", seed, n_episodes or budget.n_episodes, terminal)
        terminal.print("\n5/5 Leaderboard and pages", style="bold")
        write_csv(out / "leaderboard.csv", results)
        page = write_site(out / "site", results, runs=[out], replays=True)
    terminal.print(f"{out / 'leaderboard.csv'}, {page}", soft_wrap=True, highlight=False)
    print_table(terminal, standings_table(standings(results)))
    lines = [
        comparison_line(results, split, what)
        for split, what in (("train", "trained multisets"), ("test", "held-out multisets"))
    ]
    head = f"{TRAINED} against {WARM_START}, on the same hands:"
    terminal.print(head, *lines, sep="\n", soft_wrap=True, highlight=False, markup=False)
    terminal.print(f"\n{time.perf_counter() - start:.0f} s in all. What next:", style="bold")
    terminal.print(next_steps(out, warm, agent), soft_wrap=True, highlight=False, markup=False)
