"""The part of a check that plays: recorded answers, given to the environment again, must earn what was recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from gtr_envs.episode import Episode, Policy, StopReason
from gtr_envs.errors import GtrError
from gtr_envs.experts import ExplorerPolicy, RandomPolicy, SolverPolicy
from gtr_envs.text_actions import TextActions, make_text_env
from leaderboard.records import RunMeta, episode_from_line, episode_to_line
from leaderboard.replay import play_again
from leaderboard.sources import options_again

ASKED_AGAIN = {"random": RandomPolicy, "expert": SolverPolicy, "explorer": ExplorerPolicy}
"""Agents whose answers follow from seeds alone."""

MOST_NAMED = 3
"""Differences that are named of one episode; one change of an answer often changes all that follows."""


@dataclass(frozen=True)
class Line:
    """A line of ``episodes.jsonl``, with its number counted from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Task:
    """Lines to play again, and the settings that they were played with."""

    meta: RunMeta
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Found:
    """What came of a task: how many episodes could be played, and (line, what is wrong)."""

    n_replayed: int
    problems: tuple[tuple[int | None, str], ...]


def differs_from_its_turns(line: str, episode: Episode) -> Iterator[str]:
    """What a line says beside its turns must follow from them: the totals, the list of actions, nothing more.

    Args:
        line: as it stands in the file.
        episode: as read from it.
    """
    there, made = json.loads(line), json.loads(episode_to_line(episode))
    for name in sorted({*there, *made} - {"turns"}):
        if name not in made or name not in there:
            yield f"{name!r} {'should not be there' if name in there else 'is missing'}"
        elif there[name] != made[name] or type(there[name]) is not type(made[name]):
            yield f"{name!r} is {there[name]!r:.200}, by its turns {made[name]!r:.200}"
    for index, (one, other) in enumerate(zip(there["turns"], made["turns"], strict=True), start=1):
        names = [
            name
            for name in sorted({*one, *other})
            if one.get(name) != other.get(name) or (name in one) != (name in other)
        ]
        if names:
            yield f"turn {index} is not as gtr-bench writes it: {', '.join(names)}"


def replay_lines(task: Task) -> Found:
    """Play some episodes again and compare all that was recorded of them.

    Args:
        task: the lines. Runs in a process of its own, so it takes and gives plain values.
    """
    meta, problems, n_replayed = task.meta, list[tuple[int | None, str]](), 0
    policy = ASKED_AGAIN[meta.spec]() if meta.spec in ASKED_AGAIN else None
    try:
        env = make_text_env(meta.env_id, **options_again(meta))
    except GtrError as error:
        return Found(0, ((None, f"cannot be played again here: {error}"),))
    try:
        for line in task.lines:
            episode = episode_from_line(line.text)
            try:
                problems += [(line.number, what) for what in _compare(env, meta, episode, policy)]
                n_replayed += 1
            except Exception as error:  # an environment that breaks says so itself, and the others are still played
                if episode.stop is StopReason.CRASHED:
                    n_replayed += 1
                else:
                    what = f"seed {episode.seed} cannot be played again: {type(error).__name__}: {error}"
                    problems.append((line.number, what))
                env.close()  # one that failed is not trusted again
                env = make_text_env(meta.env_id, **options_again(meta))
    finally:
        env.close()
    return Found(n_replayed, tuple(problems))


def _compare(env: TextActions, meta: RunMeta, episode: Episode, policy: Policy | None) -> list[str]:
    again = play_again(env, episode, policy=policy, policy_seed=meta.seed)
    found = [f"seed {episode.seed}: {difference}" for difference in again.differences]
    if len(found) > MOST_NAMED:
        found = [*found[:MOST_NAMED], f"seed {episode.seed}: and {len(found) - MOST_NAMED} more differences"]
    return found
