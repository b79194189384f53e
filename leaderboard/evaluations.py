"""Evaluate an agent on all its grounds with all seeds, in the terminal's sight; what they give together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_envs.episode import Policy
from gtr_envs.storage import to_json
from leaderboard.agents import AgentOptions, describe_agent, is_local_model, load_agent
from leaderboard.cli_parts import note
from leaderboard.evaluate import evaluate, make_meta, result_folder
from leaderboard.grounds import Ground
from leaderboard.pool import Pool, pools
from leaderboard.progress import evaluation_progress
from leaderboard.records import SCHEMA_VERSION, RunMeta
from leaderboard.spending import spent_before, total_usage
from leaderboard.standings import number, percent, print_result
from leaderboard.summary import Result, SuccessRate

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Plan:
    """What is asked of every agent of a command.

    Attributes:
        seeds: the evaluation seeds.
        n_episodes: for each ground and seed.
        out_dir: the folder of all results.
        batch_size: episodes played side by side.
        name: the agent's name, None for its own.
        teacher: the folder of the model that scores beside the agent, None for none.
    """

    seeds: Sequence[int]
    n_episodes: int
    out_dir: Path
    batch_size: int = 128
    name: str | None = None
    teacher: Path | None = None

    @property
    def teacher_name(self) -> str | None:
        """What scores name the teacher by: its folder's name, as its path says nothing elsewhere."""
        return None if self.teacher is None else self.teacher.resolve().name


def evaluate_agent(
    spec: str, how: AgentOptions, grounds: Sequence[Ground], plan: Plan, terminal: Console
) -> list[Result]:
    """Evaluate one agent on all its grounds with all seeds.

    Args:
        spec: the agent.
        how: how it is to play.
        grounds: where.
        plan: with which seeds, and so on.
        terminal: where progress and figures go.

    Raises:
        GtrError: as :func:`leaderboard.evaluate.evaluate` and :func:`leaderboard.agents.load_agent` say; what was
            played before is kept.
    """
    policy = _load(spec, how, plan)
    card = describe_agent(spec, policy, name=plan.name)
    if plan.name is None and how.greedy and card.temperature == 0:  # beside the results of its sampling
        card = describe_agent(spec, policy, name=f"{card.name}-greedy")
    pairs = [(ground, seed) for ground in grounds for seed in plan.seeds]
    # A mistake in the last ground should not wait for the first to be played.
    metas = [make_meta(card, ground.env_id, ground.options, seed, plan.n_episodes) for ground, seed in pairs]
    if hasattr(policy, "count_as_spent"):  # what is there already was paid for: the cap is on all attempts together
        policy.count_as_spent(sum(spent_before(result_folder(plan.out_dir, meta)) for meta in metas))
    _say_rules(grounds, metas)
    results = []
    try:
        for (ground, seed), meta in zip(pairs, metas, strict=True):
            bar = not getattr(policy, "interactive", False)
            with evaluation_progress(terminal, _title(meta, len(plan.seeds) > 1), bar) as report:
                result = evaluate(
                    policy,
                    ground.env_id,
                    ground.options,
                    agent=card,
                    seed=seed,
                    n_episodes=plan.n_episodes,
                    out_dir=plan.out_dir,
                    batch_size=plan.batch_size,
                    scores=how.record_scores,
                    teacher=plan.teacher_name,
                    on_progress=report,
                    notice=note,
                )
            _print(terminal, result)
            results.append(result)
    finally:
        getattr(policy, "close", lambda: None)()
    return results


def load_noted(spec: str, how: AgentOptions) -> Policy:
    """Load an agent, with a note where it plays in another precision than it was trained in."""
    policy = load_agent(spec, how)
    meta = getattr(policy, "meta", {})
    own, trained = meta.get("precision"), meta.get("trained_precision")
    if how.precision == "auto" and trained not in (None, own):
        note(f"{spec} was trained in {trained} and plays in {own}, this machine's own; --precision {trained} keeps it")
    return policy


def _load(spec: str, how: AgentOptions, plan: Plan) -> Policy:
    policy = load_noted(spec, how)
    if not how.record_scores or not is_local_model(spec):
        return policy
    from gtr_agent.token_scores import with_scores

    return with_scores(policy, plan.teacher)


def _title(meta: RunMeta, several_seeds: bool) -> str:
    return f"{meta.agent}, {meta.env_id}, split {meta.split}" + (f", seed {meta.seed}" if several_seeds else "")


def _say_rules(grounds: Sequence[Ground], metas: Sequence[RunMeta]) -> None:
    """Tell of rules that come from a checkpoint's notes and that nobody asked for."""
    trained = {ground.env_id for ground in grounds if ground.trained}
    told = {(meta.agent, meta.env_id, meta.rules) for meta in metas if meta.env_id in trained}
    for agent, env_id, rules in sorted(told):
        if rules != "strict":
            note(f"{agent} plays {env_id} with the options of training ({rules}); --env {env_id} plays the plain rules")


def _print(terminal: Console, result: Result) -> None:
    print_result(terminal, result)
    usage = total_usage(result.folder)
    if usage:
        spent = ", ".join(f"{name} {value:,.6g}" for name, value in usage.items())
        terminal.print(f"used in all attempts: {spent}", soft_wrap=True, highlight=False, markup=False)
    if result.summary.crashed:
        note(
            f"{result.summary.crashed} of {result.summary.n_episodes} episodes crashed, the first with "
            f"{result.summary.first_crash}; they count as failures; mend the cause, then move {result.folder} away "
            "and run the same gtr-bench eval again"
        )


def pooled_lines(pool: Pool) -> list[tuple[str, str]]:
    """What several seeds gave together, as (what, figure) pairs for the terminal."""
    rate, solvable = pool.success_mean, SuccessRate.of_solvable(pool.episodes)
    by_seed = [f"{result.meta.seed}: {100 * result.summary.success.rate.value:.1f}%" for result in pool.results]
    lines = [("success", percent(pool.success))]
    if not math.isnan(rate.low):
        interval = f"{100 * rate.value:.1f}% [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
        lines.append(("  resampled within seeds", interval))
    lines.append(("  by seed", ", ".join(by_seed)))
    if solvable is not None and solvable.n != pool.success.n:
        lines.append(("on solvable hands", percent(solvable)))
    return [*lines, ("episode return", number(pool.episode_return)), ("  middle half", number(pool.return_iqm))]


def print_pooled(terminal: Console, results: Sequence[Result]) -> None:
    """Print the figures over several seeds, of each agent and ground that was played with several."""
    from rich.table import Table
    from rich.text import Text

    for pool in pools(results):
        if len(pool.results) < 2:
            continue
        meta, seeds = pool.meta, ", ".join(map(str, pool.seeds))
        grid = Table.grid(padding=(0, 2))
        for what, figure in pooled_lines(pool):
            grid.add_row(what, Text(figure))
        title = f"\n{meta.agent} on {meta.env_id}, split {meta.split}, {meta.rules} rules, seeds {seeds} pooled"
        terminal.print(title, style="bold", markup=False, highlight=False)
        terminal.print(grid)


def results_json(results: Sequence[Result]) -> str:
    """The figures of evaluations for machines, one JSON object: each of them, and those of several seeds pooled."""
    found = {
        "schema_version": SCHEMA_VERSION,
        "complete": all(len(result.episodes) == result.meta.n_episodes for result in results),
        "crashed": sum(result.summary.crashed for result in results),
        "results": [_result_json(result) for result in results],
        "pooled": [_pooled_json(pool) for pool in pools(results) if len(pool.results) > 1],
    }
    return to_json(found, 2)


def _result_json(result: Result) -> dict[str, Any]:
    meta = result.meta
    return {
        "folder": str(result.folder),
        "temperature": meta.temperature,
        "precision": meta.precision,
        "spec": meta.spec,
        **result.to_json(),
    }


def _pooled_json(pool: Pool) -> dict[str, Any]:
    meta = pool.meta
    place = {"agent": meta.agent, "env_id": meta.env_id, "split": meta.split, "rules": meta.rules}
    return {**place, **pool.to_json()}
