"""The figures of one evaluation, computed from its episodes alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gtr_envs.episode import Episode, StopReason, episode_seeds
from gtr_envs.errors import ResultError
from leaderboard.card_reading import CardReading, read_cards
from leaderboard.records import (
    EPISODES,
    META,
    SCHEMA_VERSION,
    RunMeta,
    read_episodes,
    read_meta,
    read_wall_seconds,
    result_folders,
)
from leaderboard.stats import Interval, bootstrap_mean, wilson
from leaderboard.texts import readable

UNKNOWN_TASK = "unknown"


@dataclass(frozen=True)
class SuccessRate:
    """Successes among episodes, with Wilson's interval."""

    n: int
    successes: int
    rate: Interval

    @classmethod
    def of(cls, episodes: Sequence[Episode]) -> SuccessRate:
        """Count them; a crashed episode is a failure."""
        successes = sum(episode.success for episode in episodes)
        return cls(len(episodes), successes, wilson(successes, len(episodes)))

    @classmethod
    def of_solvable(cls, episodes: Sequence[Episode]) -> SuccessRate | None:
        """Count those whose hand has a solution; None where there is no such thing."""
        known = [episode for episode in episodes if "solvable" in episode.info]
        return cls.of([episode for episode in known if episode.info["solvable"]]) if known else None


@dataclass(frozen=True)
class Summary:
    """The figures of one evaluation.

    Attributes:
        n_episodes, n_solvable: episodes played, and those whose hand has a solution; None where
            there is no such thing.
        success: over all episodes.
        success_solvable: over the hands that have a solution; None where there is no such thing.
        success_train, success_test: over hands of multisets that training may use, and of those that are held out.
        success_by_task: over the episodes of each task type, by its name; empty where there is no such thing. An
            episode that crashed before its task was known stands under "unknown".
        episode_return: mean undiscounted return with its bootstrap interval.
        terminated, truncated, crashed: how episodes ended.
        first_crash: the error of the first crashed episode by seed, in one line; None if none crashed.
        illegal_rate, invalid_answer_rate, repaired_rate: shares of all turns.
        card_reading: None where no answer named any cards.
        steps_mean: turns an episode.
        thought_tokens_mean: thought tokens a turn.
        tokens_out: all tokens generated.
        wall_s: seconds of playing, None if not known.
    """

    n_episodes: int
    n_solvable: int | None
    success: SuccessRate
    success_solvable: SuccessRate | None
    success_train: SuccessRate
    success_test: SuccessRate
    success_by_task: Mapping[str, SuccessRate]
    episode_return: Interval
    terminated: int
    truncated: int
    crashed: int
    first_crash: str | None
    illegal_rate: float
    invalid_answer_rate: float
    repaired_rate: float
    card_reading: CardReading | None
    steps_mean: float
    thought_tokens_mean: float
    tokens_out: int
    wall_s: float | None


@dataclass(frozen=True)
class Result:
    """One evaluation, read back: where it lies, its settings, its episodes sorted by seed, its figures."""

    folder: Path
    meta: RunMeta
    episodes: tuple[Episode, ...]
    summary: Summary

    def to_json(self) -> dict[str, Any]:
        """What ``summary.json`` holds: who and where, then the figures."""
        meta = self.meta
        head = {"agent": meta.agent, "env_id": meta.env_id, "split": meta.split, "rules": meta.rules, "seed": meta.seed}
        return {"schema_version": SCHEMA_VERSION, **head, **asdict(self.summary)}


def ratio(part: float, whole: int) -> float:
    """A part of a whole; NaN of nothing."""
    return part / whole if whole else math.nan


def summarise(episodes: Sequence[Episode], wall_s: float | None = None) -> Summary:
    """The figures of these episodes.

    Args:
        episodes: all episodes of one evaluation, crashed ones included.
        wall_s: seconds that playing them took.
    """
    n_turns = sum(episode.steps for episode in episodes)
    stops = Counter(episode.stop for episode in episodes)
    return Summary(
        n_episodes=len(episodes),
        n_solvable=_count_solvable(episodes),
        success=SuccessRate.of(episodes),
        success_solvable=SuccessRate.of_solvable(episodes),
        success_train=SuccessRate.of([e for e in episodes if e.info.get("hand_split") == "train"]),
        success_test=SuccessRate.of([e for e in episodes if e.info.get("hand_split") == "test"]),
        success_by_task=_success_by_task(episodes),
        episode_return=bootstrap_mean([episode.episode_return for episode in episodes]),
        terminated=stops[StopReason.TERMINATED],
        truncated=stops[StopReason.TRUNCATED],
        crashed=stops[StopReason.CRASHED],
        first_crash=_first_crash(episodes),
        illegal_rate=ratio(sum(episode.n_illegal for episode in episodes), n_turns),
        invalid_answer_rate=ratio(sum(episode.n_invalid for episode in episodes), n_turns),
        repaired_rate=ratio(sum(episode.n_repaired for episode in episodes), n_turns),
        card_reading=read_cards(episodes),
        steps_mean=ratio(n_turns, len(episodes)),
        thought_tokens_mean=ratio(sum(episode.thought_tokens for episode in episodes), n_turns),
        tokens_out=sum(episode.tokens for episode in episodes),
        wall_s=wall_s,
    )


def _success_by_task(episodes: Sequence[Episode]) -> dict[str, SuccessRate]:
    kinds: dict[str, list[Episode]] = {}
    for episode in episodes:
        kinds.setdefault(str(episode.info.get("task_type", UNKNOWN_TASK)), []).append(episode)
    if set(kinds) == {UNKNOWN_TASK}:
        return {}
    return {kind: SuccessRate.of(kinds[kind]) for kind in sorted(kinds)}


def _first_crash(episodes: Sequence[Episode]) -> str | None:
    crashes = [episode for episode in episodes if episode.stop is StopReason.CRASHED]
    if not crashes:
        return None
    error = min(crashes, key=lambda episode: episode.seed).error or ""
    return readable(next(iter(error.strip().splitlines()), "unknown error"))


def check_seeds(folder: Path, meta: RunMeta, seeds: Iterable[int]) -> None:
    """Make sure that a folder's episodes are its own.

    Raises:
        ResultError: one has a seed that was never asked for.
    """
    strangers = set(seeds) - set(episode_seeds(meta.seed, meta.n_episodes))
    if strangers:
        raise ResultError(
            f"{folder / EPISODES} holds seed {min(strangers)}, which {META} did not ask for: a line of another "
            "evaluation; delete that line and run the same gtr-bench eval again"
        )


def load_result(folder: Path) -> Result:
    """Read one evaluation's folder.

    Raises:
        ResultError: its files are missing or damaged, or hold episodes that were never asked for.
    """
    meta = read_meta(folder)
    episodes, _ = read_episodes(folder)
    check_seeds(folder, meta, (episode.seed for episode in episodes))
    return Result(folder, meta, tuple(episodes), summarise(episodes, read_wall_seconds(folder, len(episodes))))


def no_folder(path: Path) -> str:
    """What to tell somebody who named a folder of results that is none."""
    if path.exists():
        return f"{path} is a file; name a folder of results, such as gtr-bench eval --out makes"
    # Somebody who names an agent's folder by the name of its run lacks the checkpoint's number behind it.
    named = path.parent != Path()  # the current folder may be anybody's, and large
    beside = sorted({file.parents[2].name for file in path.parent.glob(f"*/*/*/{META}")}) if named else []
    if not beside:
        return f"no folder {path}; gtr-bench eval --out {path} makes one"
    there = ", ".join(beside[:10]) + (", ..." if len(beside) > 10 else "")
    return f"no folder {path}; {path.parent} has {there}: name one of these"


def find_results(paths: Sequence[Path]) -> list[Result]:
    """Read all evaluations in and below some folders.

    Args:
        paths: folders; one evaluation's or any that contains some.

    Returns:
        each evaluation once, in the order of their folders' names; unfinished ones too (they have
        fewer episodes than ``meta.n_episodes``).

    Raises:
        ResultError: a path is no folder, holds no evaluation, or one that is damaged; or two folders hold the same
            agent on the same hands.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ResultError(no_folder(path))
        found = result_folders(path)
        if not found:
            raise ResultError(f"{path} holds no results; gtr-bench eval --out {path} makes some")
        folders.update({folder.resolve(): folder for folder in found})
    results = [load_result(folders[key]) for key in sorted(folders)]
    seen: dict[tuple[object, ...], Path] = {}
    for result in results:
        meta = result.meta
        key = (meta.agent, meta.env_id, meta.rules, meta.split, meta.seed)
        if key in seen:
            raise ResultError(
                f"{seen[key]} and {result.folder} both hold agent {meta.agent!r} on {meta.env_id}, split {meta.split}, "
                f"seed {meta.seed}; evaluate one of them again under another --name, or leave it out"
            )
        seen[key] = result.folder
    return results


def _count_solvable(episodes: Sequence[Episode]) -> int | None:
    known = [episode.info["solvable"] for episode in episodes if "solvable" in episode.info]
    return sum(map(bool, known)) if known else None
