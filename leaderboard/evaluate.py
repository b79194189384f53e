"""Play an agent on fixed seeds and keep every episode.

Evaluation seed ``s`` stands for the episode seeds ``EVAL_SEED_BASE + s * 1_000_000 + i``
(:func:`gtr_envs.episode.episode_seeds`). Training uses seeds below ``EVAL_SEED_BASE`` and demonstrations a generator of
their own, so an evaluation never deals from a seed that training saw; and two agents evaluated with the same seed play
the same hands.

An evaluation that was interrupted is taken up again: finished episodes are skipped, a last line that was cut short is
dropped and its episode replayed. What comes out does not depend on that, nor, but for a model's rounding, on the batch
size.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gtr_envs.episode import Policy, episode_seeds, play
from gtr_envs.errors import SettingError
from gtr_envs.text_actions import make_text_env
from leaderboard.agents import AgentCard
from leaderboard.options import normal_options, played_split, rules_in_words
from leaderboard.provenance import git_commit, library_versions, package_version, today
from leaderboard.records import (
    EPISODES,
    META,
    SUMMARY,
    TIMING,
    RunMeta,
    check_same_run,
    episode_to_line,
    locked,
    read_episodes,
    read_meta,
    to_json,
    write_atomic,
    write_meta,
)
from leaderboard.sources import game_source, playable_options, recorded_options
from leaderboard.summary import Result, load_result

MAX_EPISODES = 1_000_000
"""An evaluation seed owns this many episode seeds."""


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is: episodes finished, successes among them, episodes asked for."""

    done: int
    successes: int
    total: int


def result_folder(out_dir: Path, meta: RunMeta) -> Path:
    """Where the evaluation with these settings lies below ``out_dir``: agent / environment / split, rules and seed."""
    rules = "" if meta.rules == "strict" else "-" + re.sub(r"[^A-Za-z0-9.]+", "-", meta.rules).strip("-")
    return out_dir / meta.agent / meta.env_id.replace("/", "-") / f"{meta.split}{rules}-seed-{meta.seed}"


def make_meta(agent: AgentCard, env_id: str, env_kwargs: Mapping[str, Any], seed: int, n_episodes: int) -> RunMeta:
    """The settings of an evaluation that starts now.

    Raises:
        UnknownEnvironmentError: no such environment.
        SettingError: an option, the seed or the number of episodes is out of range.
        GameError: the data set has no such games.
    """
    if not 1 <= n_episodes <= MAX_EPISODES:
        raise SettingError(f"{n_episodes} episodes; choose 1 to {MAX_EPISODES}")
    if seed < 0:
        raise SettingError(f"seed {seed}; choose 0 or more")
    normal = normal_options(env_id, env_kwargs)
    source = game_source(env_id, env_kwargs)
    options = recorded_options(normal, source)
    return RunMeta(
        agent=agent.name,
        spec=agent.spec,
        method=agent.method,
        base_model=agent.base_model,
        fingerprint=agent.fingerprint,
        env_id=env_id,
        env_kwargs=options,
        split=played_split(env_id, env_kwargs),
        rules=rules_in_words(options),
        seed=seed,
        n_episodes=n_episodes,
        temperature=agent.temperature,
        version=package_version(),
        git_commit=git_commit(),
        date=today(),
        versions=library_versions(),
        games=source.games if source else None,
    )


def _prepare(folder: Path, meta: RunMeta, notice: Callable[[str], None]) -> set[int]:
    """Write or check a folder's settings and mend its episodes' file; returns the seeds that need no more playing."""
    if not (folder / META).exists():
        if (folder / EPISODES).exists():
            check_same_run(folder, meta)  # raises: episodes without settings are nobody's
        write_meta(folder, meta)
        return set()
    check_same_run(folder, meta)
    there = read_meta(folder)
    if there.n_episodes < meta.n_episodes:
        write_meta(folder, replace(there, n_episodes=meta.n_episodes))
    episodes, cut = read_episodes(folder)
    path = folder / EPISODES
    if cut:
        os.truncate(path, path.stat().st_size - cut)
        notice(f"{path}: the last line was cut short by an interruption; dropped, its episode is played again")
    if episodes and there.git_commit != meta.git_commit:
        notice(
            f"{folder}: {len(episodes)} episodes were played at commit {there.git_commit}, this is {meta.git_commit}"
        )
    return {episode.seed for episode in episodes}


def _append(path: Path, line: str) -> None:
    """Add one line in one write, so that an interruption leaves whole lines but for the last."""
    with path.open("ab", buffering=0) as handle:
        handle.write(line.encode("ascii") + b"\n")


def _finish(folder: Path) -> Result:
    """Sort the episodes' file by seed and write the summary, each file whole or not at all."""
    result = load_result(folder)
    lines = "".join(episode_to_line(episode) + "\n" for episode in result.episodes)
    path = folder / EPISODES
    if path.read_bytes() != lines.encode("ascii"):
        write_atomic(path, lines)
    write_atomic(folder / SUMMARY, to_json(result.to_json(), 2) + "\n")
    return result


def evaluate(
    policy: Policy,
    env_id: str,
    env_kwargs: Mapping[str, Any],
    *,
    agent: AgentCard,
    seed: int,
    n_episodes: int,
    out_dir: Path,
    batch_size: int = 128,
    on_progress: Callable[[Progress], None] | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> Result:
    """Play an agent, or go on where an interrupted evaluation of it stopped.

    Args:
        policy: who plays.
        env_id: a Gymnasium id that speaks the protocol.
        env_kwargs: the environment's options, such as ``split`` and ``hands``.
        agent: the policy's name and origin.
        seed: which block of evaluation seeds; also the seed of the policy's sampling.
        n_episodes: how many episodes; more than a finished evaluation has extends it.
        out_dir: the folder of all results; this one gets a folder of its own in it.
        batch_size: how many episodes are played side by side.
        on_progress: called at the start and after each episode.
        notice: called with a line of text when something was mended.

    Returns:
        the evaluation, read back from what was written.

    Raises:
        OutputExistsError: the folder holds a run with other settings, or another process is writing there.
        ResultError: the folder is damaged.
        UnknownEnvironmentError, SettingError: an argument that does not exist or is out of range.
        GameError: the data set has no such games.
    """
    if batch_size < 1:
        raise SettingError(f"batch size {batch_size}; choose 1 or more")
    meta = make_meta(agent, env_id, env_kwargs, seed, n_episodes)
    options = playable_options(meta.env_kwargs, game_source(env_id, env_kwargs))
    folder = result_folder(out_dir, meta)
    with locked(folder):
        finished = _prepare(folder, meta, notice)
        waiting = [number for number in episode_seeds(seed, n_episodes) if number not in finished]
        successes = sum(episode.success for episode in read_episodes(folder)[0])
        done = len(finished)
        report = on_progress or (lambda progress: None)
        report(Progress(done, successes, n_episodes))
        began, start, played = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter(), 0
        try:
            for episode in play(
                policy,
                lambda: make_text_env(env_id, **options),
                waiting,
                batch_size=batch_size,
                policy_seed=seed,
            ):
                _append(folder / EPISODES, episode_to_line(episode))
                played += 1
                successes += episode.success
                report(Progress(done + played, successes, n_episodes))
        finally:
            if played:
                timing = {"started": began, "wall_s": round(time.perf_counter() - start, 3), "episodes": played}
                _append(folder / TIMING, to_json({**timing, "batch_size": batch_size, "git_commit": meta.git_commit}))
        return _finish(folder)
