"""The part of a check that needs no playing: are the settings possible, does the summary follow from the episodes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from gtr_envs.episode import Episode
from gtr_envs.errors import GtrError, ResultError
from gtr_envs.storage import to_json
from gtr_envs.tasks import task_for
from gtr_envs.text_actions import make_text_env
from leaderboard.evaluate import result_folder
from leaderboard.options import check_names, played_split, rules_in_words
from leaderboard.records import META, SUMMARY, TIMING, RunMeta, read_wall_seconds
from leaderboard.scores import SCORES, read_scores
from leaderboard.sources import options_again
from leaderboard.summary import Result, summarise
from leaderboard.validate_episodes import ASKED_AGAIN

KNOWN_VERSIONS = ("0.1.0",)
"""Versions of gtr-bench whose rules this one plays."""

LIBRARIES = ("python", "numpy", "gymnasium", "pillow")
"""Libraries whose versions every result names."""

Severity = str


def check_settings(meta: RunMeta) -> Iterator[tuple[Severity, str]]:
    """What is wrong with an evaluation's settings, each as a severity and words.

    Args:
        meta: as read from ``meta.json``; that each setting is of its type and within its bounds was seen to there.
    """
    yield from (("error", what) for what in _check_environment(meta))
    yield from _check_origin(meta)


def _check_environment(meta: RunMeta) -> Iterator[str]:
    try:
        task_for(meta.env_id)
        check_names(meta.env_id, meta.env_kwargs)
        make_text_env(meta.env_id, **options_again(meta)).close()
    except Exception as error:  # options of a type that an environment did not think of
        yield str(error) if isinstance(error, GtrError) else f"its options are refused: {type(error).__name__}: {error}"
        return
    split, rules = played_split(meta.env_id, meta.env_kwargs), rules_in_words(meta.env_kwargs)
    if meta.split != split:
        yield f"split is {meta.split!r}, but its options play {split!r}"
    if meta.rules != rules:
        yield f"rules are {meta.rules!r}, but its options are {rules!r}"


def _check_origin(meta: RunMeta) -> Iterator[tuple[Severity, str]]:
    """Who played, and with what."""
    if meta.version not in KNOWN_VERSIONS:
        yield "error", f"version {meta.version!r} of gtr-bench is not known here; known: {', '.join(KNOWN_VERSIONS)}"
    unnamed = [name for name in LIBRARIES if not isinstance(meta.versions.get(name), str)]
    if unnamed:
        yield "error", f"versions name no {', '.join(unnamed)}"
    try:
        day = date.fromisoformat(meta.date)
    except ValueError:
        yield "error", f"date is {meta.date!r}, expected YYYY-MM-DD"
    else:
        if day > datetime.now(UTC).date() + timedelta(days=1):
            yield "error", f"date {meta.date} is in the future"
    if meta.spec in ASKED_AGAIN:
        claimed = (meta.method, meta.base_model, meta.fingerprint)
        if claimed != (meta.spec, None, None):
            yield "error", f"spec is {meta.spec!r}, but method, base model and fingerprint claim {claimed!r}"
    elif meta.fingerprint is None:
        yield "warning", "no fingerprint: nothing says which weights played"
    if meta.git_commit is None:
        yield "warning", "no git_commit: nothing says at which commit of gtr-bench it was played"
    elif meta.git_commit.endswith("-dirty"):
        yield "warning", f"was played at commit {meta.git_commit}: files of gtr-bench had been changed"


def check_place(folder: Path, meta: RunMeta) -> Iterator[str]:
    """Whether a folder lies where an evaluation with its settings would."""
    expected = result_folder(Path(), meta)
    if folder.resolve().parts[-len(expected.parts) :] != expected.parts:
        yield f"lies elsewhere than its {META} says, which is {expected}"


def check_timing(folder: Path, n_episodes: int) -> Iterator[tuple[str, Severity, str]]:
    """Whether more was played than there is; gives file, severity and words."""
    try:
        lines = [json.loads(line) for line in (folder / TIMING).read_text("utf-8").splitlines()]
        played = sum(int(line["episodes"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        yield TIMING, "warning", "is missing or damaged: seconds are not known"
        return
    if played > n_episodes:
        yield TIMING, "warning", f"{played} episodes were played, {n_episodes} are there; were some taken out?"


def check_summary(folder: Path, meta: RunMeta, episodes: Sequence[Episode]) -> Iterator[tuple[str, Severity, str]]:
    """Compare ``summary.json`` with what the episodes give; gives file, severity and words.

    Args:
        folder: of the evaluation.
        meta: its settings.
        episodes: those of its file that can be read, by seed.
    """
    try:
        there = json.loads((folder / SUMMARY).read_text("utf-8"))
        if not isinstance(there, dict):
            raise ResultError("it is no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        yield SUMMARY, "error", f"is missing or damaged ({error}); run the same gtr-bench eval again to write it"
        return
    if not episodes:
        return
    summary = summarise(episodes, read_wall_seconds(folder, len(episodes)))
    made = json.loads(to_json(Result(folder, meta, tuple(episodes), summary).to_json()))
    for name, one, other in _unequal(there, made, ""):
        yield SUMMARY, "error", f"{name} is {one!r:.100}, the episodes give {other!r:.100}"


def check_scores(folder: Path, episodes: Sequence[Episode]) -> Iterator[tuple[str, Severity, str]]:
    """Whether recorded scores of tokens are of these episodes; gives file, severity and words.

    They are shown in replays and counted nowhere, so they make no result wrong.
    """
    try:
        scores = read_scores(folder)
    except ResultError as error:
        yield SCORES, "warning", str(error)
        return
    for episode in episodes:
        found = scores.get(episode.seed)
        said = None if found is None else ["".join(turn.pieces) for turn in found.turns]
        if said is not None and (
            len(said) != episode.steps
            or any(one and one != turn.text for one, turn in zip(said, episode.turns, strict=True))
        ):
            yield SCORES, "warning", f"the tokens of seed {episode.seed} are not those of its answers"


MISSING = "missing"


def _unequal(there: Any, made: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ, with the path to it; numbers may differ by rounding."""
    if isinstance(there, dict) and isinstance(made, dict):
        for key in sorted({*there, *made}):
            yield from _unequal(there.get(key, MISSING), made.get(key, MISSING), f"{name}.{key}" if name else key)
    elif isinstance(there, list) and isinstance(made, list) and len(there) == len(made):
        for index, (one, other) in enumerate(zip(there, made, strict=True)):
            yield from _unequal(one, other, f"{name}[{index}]")
    elif _is_number(there) and _is_number(made):
        if not math.isclose(there, made, rel_tol=1e-9, abs_tol=1e-12):
            yield name, there, made
    elif there != made or type(there) is not type(made):
        yield name, there, made


def _is_number(value: Any) -> bool:
    """Whether it is a number that can be compared as a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
