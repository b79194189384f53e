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

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gtr_envs.episode import Policy, episode_seeds, play
from gtr_envs.errors import SettingError
from gtr_envs.storage import append_line, locked, to_json, truncate, write_atomic
from gtr_envs.text_actions import make_text_env
from leaderboard.agents import AgentCard
from leaderboard.options import normal_options, played_split, rules_in_words
from leaderboard.provenance import git_commit, library_versions, package_version, today
from leaderboard.records import (
    EPISODES,
    MAX_EPISODES,
    MAX_SEED,
    META,
    SUMMARY,
    TIMING,
    RunMeta,
    check_same_run,
    episode_to_line,
    read_episodes,
    read_meta,
    write_meta,
)
from leaderboard.scores import SCORES, prepare_scores, read_scores, scores_of, scores_to_line, write_sorted
from leaderboard.sources import game_source, playable_options, recorded_options
from leaderboard.spending import spent_since, usage_of
from leaderboard.summary import Result, check_seeds, load_result


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
    if not 0 <= seed <= MAX_SEED:
        raise SettingError(f"seed {seed}; choose 0 to {MAX_SEED}")
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
        max_new_tokens=agent.max_new_tokens,
        precision=agent.precision,
    )


def _prepare(folder: Path, meta: RunMeta, notice: Callable[[str], None]) -> dict[int, bool]:
    """Write or check a folder's settings and mend its episodes' file.

    Returns:
        the seeds that need no more playing, and whether each was a success.
    """
    if not (folder / META).exists():
        if (folder / EPISODES).exists():
            check_same_run(folder, meta)  # raises: episodes without settings are nobody's
        write_meta(folder, meta)
        return {}
    check_same_run(folder, meta)
    there = read_meta(folder)
    if there.n_episodes < meta.n_episodes:
        write_meta(folder, replace(there, n_episodes=meta.n_episodes))
    episodes, cut = read_episodes(folder)
    check_seeds(folder, meta, (episode.seed for episode in episodes))  # before hours of playing, not after
    path = folder / EPISODES
    if cut:
        truncate(path, path.stat().st_size - cut)
        notice(f"{path}: the last line was cut short by an interruption; dropped, its episode is played again")
    if episodes and there.git_commit != meta.git_commit:
        notice(
            f"{folder}: {len(episodes)} episodes were played at commit {there.git_commit}, this is {meta.git_commit}"
        )
    return {episode.seed: episode.success for episode in episodes}


def _finish(folder: Path) -> Result:
    """Sort the files of episodes and scores by seed and write the summary, each file whole or not at all."""
    result = load_result(folder)
    lines = "".join(episode_to_line(episode) + "\n" for episode in result.episodes)
    path = folder / EPISODES
    if path.read_bytes() != lines.encode("ascii"):
        write_atomic(path, lines)
    if (folder / SCORES).exists():
        write_sorted(folder, read_scores(folder))
    write_atomic(folder / SUMMARY, to_json(result.to_json(), 2) + "\n")
    return result


@dataclass(frozen=True)
class Job:
    """One evaluation about to be played: everything :func:`_play` needs to know."""

    policy: Policy
    folder: Path
    meta: RunMeta
    env_options: Mapping[str, Any]
    batch_size: int
    scores: bool
    teacher: str | None


def _play(job: Job, finished: Mapping[int, bool], on_progress: Callable[[Progress], None]) -> None:
    """Play the episodes that are missing; each is on the disk before the next is waited for."""
    meta, folder = job.meta, job.folder
    waiting = [number for number in episode_seeds(meta.seed, meta.n_episodes) if number not in finished]
    done, successes = len(finished), sum(finished.values())
    on_progress(Progress(done, successes, meta.n_episodes))
    began, start, before = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter(), usage_of(job.policy)
    try:
        for episode in play(
            job.policy,
            lambda: make_text_env(meta.env_id, **job.env_options),
            waiting,
            batch_size=min(job.batch_size, getattr(job.policy, "batch_limit", None) or job.batch_size),
            keep_extra=job.scores,
            policy_seed=meta.seed,
        ):
            if job.scores:  # first, so that no episode that counts as played lacks its scores
                append_line(folder / SCORES, scores_to_line(scores_of(episode, job.teacher)))
            append_line(folder / EPISODES, episode_to_line(episode))
            done += 1
            successes += episode.success
            on_progress(Progress(done, successes, meta.n_episodes))
    finally:
        played, usage = done - len(finished), spent_since(before, usage_of(job.policy))
        if played or any(usage.values()):  # what was paid counts even where no episode came to its end
            timing = {"started": began, "wall_s": round(time.perf_counter() - start, 3), "episodes": played}
            timing |= {"batch_size": job.batch_size, "git_commit": meta.git_commit}
            append_line(folder / TIMING, to_json(timing | ({"usage": usage} if usage else {})))


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
    scores: bool = False,
    teacher: str | None = None,
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
        batch_size: how many episodes are played side by side; the policy's own ``batch_limit`` at most.
        scores: also keep the log-probs that the policy gives with its answers, see :mod:`leaderboard.scores`.
        teacher: the name of the teacher among them, None for none.
        on_progress: called at the start and after each episode.
        notice: called with a line of text when something was mended, or where nothing keeps other processes out.

    Returns:
        the evaluation, read back from what was written.

    Raises:
        OutputExistsError: the folder holds a run with other settings.
        RunBusyError: another process is writing there.
        ResultError: the folder is damaged.
        OutputError: nothing can be written there; what was written before is whole.
        UnknownEnvironmentError, SettingError: an argument that does not exist or is out of range.
        GameError: the data set has no such games.
    """
    if batch_size < 1:
        raise SettingError(f"batch size {batch_size}; choose 1 or more")
    meta = make_meta(agent, env_id, env_kwargs, seed, n_episodes)
    options = playable_options(meta.env_kwargs, game_source(env_id, env_kwargs))
    folder = result_folder(out_dir, meta)
    with locked(folder, "evaluated", notice):
        finished = _prepare(folder, meta, notice)
        if scores:
            prepare_scores(folder, finished, teacher, notice)
        job = Job(policy, folder, meta, options, batch_size, scores, teacher)
        _play(job, finished, on_progress or (lambda progress: None))
        return _finish(folder)
