"""The quickstart: from a packaged warm start, or from nothing, to a ranked agent, on a CPU.

Each stage leaves a folder; what is finished is noted in ``quickstart.json``, so the same command goes on where it
stopped. Nothing here is special to it: each stage is one of the commands that are printed at the end.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gtr_envs.errors import CheckpointError, SettingError
from gtr_envs.storage import locked
from leaderboard.agents import AgentOptions, describe_agent, load_agent
from leaderboard.cli_parts import print_table
from leaderboard.compare import compare_results
from leaderboard.evaluate import evaluate
from leaderboard.progress import evaluation_progress, in_words
from leaderboard.provenance import package_version
from leaderboard.quickstart_plan import BUDGETS, PRESET, SPLITS, START, Plan
from leaderboard.site import write_site
from leaderboard.stages import SCRATCH, Stages, finished_stages, kept_precision
from leaderboard.standings import standings, standings_table
from leaderboard.summary import Result
from leaderboard.table import write_csv

if TYPE_CHECKING:
    from rich.console import Console

ENV_ID = "gtr/Points24-v0"
BOTH_SIDES = "--split train --split test"
BATCH_SIZE = 256
WARM_START, TRAINED = "warm-start", "gtr-turbo-kl"


def train_agents(stages: Stages, plan: Plan) -> tuple[str, Path]:
    """Take or make the warm start and train from it; returns what to name it by, and the trained agent's folder."""
    from gtr_agent.sft import run_sft
    from gtr_agent.tiny import init_tiny
    from gtr_agent.train import train

    def stage(title: str, name: str, work: Callable[[Path], Path], go_on: Callable[[Path], Path] | None = None) -> Path:
        plan.say(f"\n{title}", "bold")
        begun = time.perf_counter()
        path, found = stages.run(name, work, go_on)
        plan.say(f"{path} ({'done before' if found else in_words(time.perf_counter() - begun)})")
        return path

    start = START
    if plan.from_scratch:
        tiny = stage("A tiny vision-language model with random weights", "tiny", lambda out: init_tiny(out, plan.seed))
        settings = plan.settings(str(tiny))
        warm = stage(
            "Warm start on the solver's episodes",
            WARM_START,
            lambda out: run_sft(settings, out, on_record=plan.warm_start_recorded),
        )
        start = str(warm)

    def begin(out: Path, resume: bool = False) -> Path:
        return train(plan.settings(start), out, resume, on_record=plan.update_recorded)

    def go_on(out: Path) -> Path:
        try:
            return begin(out, resume=True)
        except (CheckpointError, SettingError) as error:
            plan.say(f"training is begun anew: {error}")
            raise

    return start, stage(f"Training with GTR-Turbo (KL) from {start}", TRAINED, begin, go_on)


def evaluate_agents(specs: Sequence[tuple[str, str]], out: Path, plan: Plan, terminal: Console) -> list[Result]:
    """Evaluate agents, given as (name, spec), on every split; returns the evaluations in that order."""
    plan.say(f"\nEvaluation on hands that training never saw, {plan.n_episodes} a split", "bold")
    results = []
    for name, spec in specs:
        policy = load_agent(spec, AgentOptions(precision=plan.precision))
        card = describe_agent(spec, policy, name=name)
        for split in SPLITS:
            with evaluation_progress(terminal, f"{name}, {split} hands") as report:
                results.append(
                    evaluate(
                        policy,
                        ENV_ID,
                        {"split": split},
                        agent=card,
                        seed=plan.seed,
                        n_episodes=plan.n_episodes,
                        out_dir=out,
                        batch_size=BATCH_SIZE,
                        on_progress=report,
                        notice=terminal.print,
                    )
                )
    return results


def comparison_line(results: Sequence[Result], split: str, what: str) -> str:
    """How the trained agent compares with its warm start on the same hands, in one line."""
    sides = (
        [result for result in results if (result.meta.agent, result.meta.split) == (name, split)]
        for name in (WARM_START, TRAINED)
    )
    found = compare_results(*sides).pooled
    if found.only_first + found.only_second == 0:
        return f"  on {what}: the same outcome on each of {found.n} hands"
    change = found.success
    return (
        f"  on {what}: {100 * change.value:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}], "
        f"p = {found.p_value:.2g} (exact McNemar, {found.n} hands)"
    )


def next_steps(out: Path, start: str, agent: Path) -> str:
    """The commands to go on with, as they can be typed where this one was."""
    command = "gtr-bench"
    if shutil.which(command) is None and Path(sys.argv[0]).name == command:
        command = os.path.relpath(sys.argv[0])
    init = f"--init {start} --out runs/ppo"
    return "\n".join(
        (
            f"  look at the episodes   open {out / 'site' / 'index.html'} in a browser",
            f"  evaluate on new hands  {command} eval --agent {agent} --env {ENV_ID} --seed 1 {BOTH_SIDES}",
            f"  train another way      {command} train --preset {PRESET} --set method=ppo {init}",
            f"  rank your own          {command} leaderboard {out / 'results'} results/ --csv leaderboard.csv",
            f"  see all commands       {command} --help",
        )
    )


def run_quickstart(
    out: Path,
    seed: int,
    budget_name: str,
    terminal: Console,
    n_episodes: int | None = None,
    from_scratch: bool = False,
) -> None:
    """Train a tiny agent from a warm start, evaluate and rank it.

    Args:
        out: the folder of everything.
        seed: of the training and the evaluation, and of a model that is made from nothing.
        budget_name: ``full`` or ``toy``.
        terminal: where progress and the final table go.
        n_episodes: episodes for each agent and split; the budget's own number if None.
        from_scratch: make the model and its warm start too, instead of taking the packaged one.

    Raises:
        SettingError: an unknown budget, or a seed that is out of range.
        CheckpointError: the packaged start is missing or damaged.
        OutputExistsError: the folder holds something else, or a quickstart of another start.
    """
    if budget_name not in BUDGETS:
        raise SettingError(f"unknown budget {budget_name!r}; choose one of {', '.join(BUDGETS)}")
    begun = time.perf_counter()
    budget = BUDGETS[budget_name]
    episodes = n_episodes or budget.n_episodes
    plan = Plan(seed, budget, from_scratch, episodes, terminal, kept_precision(out))
    settings = {
        "seed": seed,
        "budget": budget_name,
        "start": SCRATCH if from_scratch else START,
        "version": package_version(),
    }
    finished_stages(out, settings)  # before the lock leaves a file in a folder that is not ours
    plan.announce()
    with locked(out, "written", plan.say):
        start, agent = train_agents(Stages(out, settings, plan.precision), plan)
        specs = [("random", "random"), ("expert", "expert"), (WARM_START, start), (TRAINED, str(agent))]
        results = evaluate_agents(specs, out / "results", plan, terminal)
        plan.say("\nLeaderboard and pages", "bold")
        write_csv(out / "leaderboard.csv", results)
        page = write_site(out / "site", results, runs=[out], replays=True)
    plan.say(f"{out / 'leaderboard.csv'}, {page}")
    print_table(terminal, standings_table(standings(results)))
    plan.say(f"{TRAINED} against {WARM_START} ({start}), on the same hands:")
    for split, what in (("train", "trained multisets"), ("test", "held-out multisets")):
        plan.say(comparison_line(results, split, what))
    plan.say(f"\n{in_words(time.perf_counter() - begun)} in all. What next:", "bold")
    plan.say(next_steps(out, start, agent))
