"""The settings of an evaluation: ``meta.json``, written first; a folder belongs to one set of settings for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gtr_envs.errors import OutputExistsError, ResultError
from gtr_envs.storage import to_json, write_atomic

SCHEMA_VERSION = 1
KIND = "gtr-bench result"
META = "meta.json"
MAX_EPISODES = 1_000_000
"""An evaluation seed owns this many episode seeds."""
MAX_SEED = 2**31 - 1
"""The largest evaluation seed: episode seeds, too, then fit the 64 bits of the leaderboard's columns."""


@dataclass(frozen=True)
class RunMeta:
    """The settings of one evaluation.

    Attributes:
        agent: the name in the leaderboard.
        spec: what was asked for: ``random``, ``expert`` or a checkpoint's folder.
        method: how the agent was made (``gtr-turbo-kl``, ``sft``, ...).
        base_model: the model it started from, None if it is no model.
        fingerprint: a digest of the checkpoint's weights, None if it is no model.
        env_id: the Gymnasium id.
        env_kwargs: the environment's options that differ from its defaults; where its games come from, always, by name.
        split: what was played, such as ``train``; ``all`` for an environment without splits.
        rules: the environment's rules in words: ``strict``, and options that differ from the default.
        seed: which block of evaluation seeds was played; it is also the seed of the policy's sampling.
        n_episodes: how many episodes were asked for.
        temperature: of the sampling; 0 is greedy, None if the agent does not sample from a model.
        version, git_commit, versions, date: what it ran with, and when it began (UTC).
        games: number and digest of the games of a data set; None where the games are made.
        max_new_tokens: tokens after which an answer is cut off; None if the agent is no model, or if it is not known.
        precision: of the model's forward passes; None if the agent is no model here, or if it is not known.
    """

    agent: str
    spec: str
    method: str
    base_model: str | None
    fingerprint: str | None
    env_id: str
    env_kwargs: Mapping[str, Any]
    split: str
    rules: str
    seed: int
    n_episodes: int
    temperature: float | None
    version: str
    git_commit: str | None
    date: str
    versions: Mapping[str, str] = field(default_factory=dict)
    games: str | None = None
    max_new_tokens: int | None = None
    precision: str | None = None


IDENTITY = (
    "agent",
    "method",
    "base_model",
    "fingerprint",
    "env_id",
    "env_kwargs",
    "games",
    "split",
    "rules",
    "seed",
    "temperature",
    "max_new_tokens",
    "precision",
    "version",
)
"""The settings that must agree for a folder to be resumed. Not among them: the path a checkpoint lies at (its weights
count) and the number of episodes, which may grow."""

MAX_TEMPERATURE = 10
LONGEST_TEXT = 1000
"""Letters of a setting's text."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("agent", "spec", "method", "env_id", "split", "rules", "version", "date"), (str,)),
    **dict.fromkeys(("base_model", "fingerprint", "git_commit", "games", "precision"), (str, type(None))),
    **dict.fromkeys(("seed", "n_episodes"), (int,)),
    **dict.fromkeys(("env_kwargs", "versions"), (dict,)),
    "max_new_tokens": (int, type(None)),
    "temperature": (int, float, type(None)),
}

_ADDED_LATER = ("games", "max_new_tokens", "precision")
"""Settings that older folders lack."""


def write_meta(folder: Path, meta: RunMeta) -> None:
    """Write a folder's settings."""
    write_atomic(folder / META, to_json({"kind": KIND, "schema_version": SCHEMA_VERSION, **asdict(meta)}, 2) + "\n")


def is_result(folder: Path) -> bool:
    """Whether a folder's ``meta.json`` was written by an evaluation (training runs have files of that name too)."""
    try:
        text = (folder / META).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return f'"{KIND}"' in text


def read_meta(folder: Path) -> RunMeta:
    """Read a folder's settings.

    Raises:
        ResultError: the file is missing, damaged, or of another schema.
    """
    path = folder / META
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ResultError(f"{path} has schema_version {version!r}; this gtr-bench reads {SCHEMA_VERSION}")
        data = {**dict.fromkeys(_ADDED_LATER), **data}
        _check_types(data)
        return RunMeta(**{item.name: data[item.name] for item in fields(RunMeta)})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(
            f"{path} is missing or damaged ({error}); look at it and put it back as it was, or move {folder} out of "
            "the results and run that evaluation again; the episodes in it are untouched"
        ) from error


def _check_types(data: Mapping[str, Any]) -> None:
    """Raises ValueError where a setting is of another type than everything that reads it expects, or no line to show.

    Results are passed on: what stands in a file that somebody else wrote goes into pages, terminals and names of files.
    """
    for name, allowed in _TYPES.items():
        value = data[name]
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r:.100}, which is no {allowed[0].__name__}")
        if isinstance(value, str) and name != "spec" and not (len(value) <= LONGEST_TEXT and value.isprintable()):
            raise ValueError(f"{name} is {value!r:.100}, which is no line of at most {LONGEST_TEXT} letters")
    if not 0 <= data["seed"] <= MAX_SEED or not 1 <= data["n_episodes"] <= MAX_EPISODES:
        raise ValueError(f"seed is {data['seed']} and n_episodes {data['n_episodes']}")
    if data["temperature"] is not None and not 0 <= data["temperature"] <= MAX_TEMPERATURE:
        raise ValueError(f"temperature is {data['temperature']}; allowed is 0 (greedy) to {MAX_TEMPERATURE}")


def check_same_run(folder: Path, wanted: RunMeta) -> None:
    """Refuse to mix two evaluations in one folder.

    Raises:
        OutputExistsError: the folder holds a run with other settings, or a longer one.
        ResultError: its settings cannot be read.
    """
    there = read_meta(folder)
    mend = "choose another --out or --name, or delete that folder"
    for name in IDENTITY:
        old, new = getattr(there, name), getattr(wanted, name)
        if old == new or (name in ("max_new_tokens", "precision") and old is None):  # an older folder does not know
            continue
        way = f"give --precision {old}, or {mend}" if name == "precision" else mend
        raise OutputExistsError(f"{folder} holds another run: {name} is {old!r} there and {new!r} now; {way}")
    if wanted.n_episodes < there.n_episodes:
        raise OutputExistsError(
            f"{folder} holds a longer run: {there.n_episodes} episodes there and {wanted.n_episodes} now; "
            f"ask for --episodes {there.n_episodes}, or {mend}"
        )
