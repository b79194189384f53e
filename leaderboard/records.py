"""What an evaluation leaves on disk, and how it is read back.

One folder an (agent, environment, split, seed):

* ``meta.json``: the settings, written first; a folder belongs to one set of settings for ever.
* ``episodes.jsonl``: one line an episode, appended as each ends; the source of truth. Sorted by seed at the end.
* ``timing.jsonl``: one line each time the evaluation ran: seconds, episodes played, batch size, what an endpoint was
  paid. Kept apart, so that the episodes' file has the same bytes however fast, in whatever batches and in however many
  attempts it came about.
* ``scores.jsonl``, where wanted: the log-probs of each answer's tokens, see ``scores.py``; kept apart likewise.
* ``summary.json``: the figures, for reading; nothing is computed from it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gtr_envs.episode import Episode, StopReason, Turn
from gtr_envs.errors import OutputExistsError, ResultError
from gtr_envs.protocol import AnswerStatus, read_answer
from leaderboard.disk import LOCK as LOCK
from leaderboard.disk import append_line as append_line
from leaderboard.disk import locked as locked
from leaderboard.disk import to_json as to_json
from leaderboard.disk import write_atomic as write_atomic
from leaderboard.disk import writing as writing

SCHEMA_VERSION = 1
KIND = "gtr-bench result"
META, EPISODES, TIMING, SUMMARY = "meta.json", "episodes.jsonl", "timing.jsonl", "summary.json"


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
    "version",
)
"""The settings that must agree for a folder to be resumed. Not among them: the path a checkpoint lies at (its weights
count) and the number of episodes, which may grow."""

_ADDED_LATER = ("games", "max_new_tokens")
"""Settings that older folders lack."""


def write_meta(folder: Path, meta: RunMeta) -> None:
    """Write a folder's settings."""
    write_atomic(folder / META, to_json({"kind": KIND, "schema_version": SCHEMA_VERSION, **asdict(meta)}, 2) + "\n")


def is_result(folder: Path) -> bool:
    """Whether a folder's ``meta.json`` was written by an evaluation (training runs have files of that name too)."""
    try:
        text = (folder / META).read_text(encoding="utf-8")
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
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(f"{path} is missing or damaged ({error}); delete {folder} and evaluate again") from error


def _check_types(data: Mapping[str, Any]) -> None:
    """Raises ValueError where a setting is of another type than everything that reads it expects."""
    kinds = {"env_kwargs": dict, "seed": int, "n_episodes": int}
    kinds |= dict.fromkeys(("agent", "spec", "method", "env_id", "split", "rules", "version", "date"), str)
    for name, kind in kinds.items():
        if not isinstance(data[name], kind) or isinstance(data[name], bool):
            raise ValueError(f"{name} is {data[name]!r}")
    if data["seed"] < 0 or data["n_episodes"] < 1:
        raise ValueError(f"seed is {data['seed']} and n_episodes {data['n_episodes']}")


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
        if old != new and not (name == "max_new_tokens" and old is None):  # an older folder does not know it
            raise OutputExistsError(f"{folder} holds another run: {name} is {old!r} there and {new!r} now; {mend}")
    if wanted.n_episodes < there.n_episodes:
        raise OutputExistsError(
            f"{folder} holds a longer run: {there.n_episodes} episodes there and {wanted.n_episodes} now; "
            f"ask for --episodes {there.n_episodes}, or {mend}"
        )


def episode_to_line(episode: Episode) -> str:
    """One line of ``episodes.jsonl``, without its line end. Prompts and frames are left out: a replay shows them."""
    return to_json(
        {
            "seed": episode.seed,
            "success": episode.success,
            "return": episode.episode_return,
            "steps": episode.steps,
            "stop": str(episode.stop),
            "illegal": episode.n_illegal,
            "invalid": episode.n_invalid,
            "repaired": episode.n_repaired,
            "tokens": episode.tokens,
            "thought_tokens": episode.thought_tokens,
            "actions": [turn.action for turn in episode.turns],
            "info": dict(episode.info),
            "error": episode.error,
            "turns": [_turn_to_json(turn) for turn in episode.turns],
        }
    )


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "text": turn.text,
        "status": str(turn.status),
        "thoughts": turn.thoughts,
        "action": turn.action,
        "reward": turn.reward,
        "illegal": turn.illegal,
        "tokens": turn.tokens,
        "thought_tokens": turn.thought_tokens,
    }


def episode_from_line(line: str | bytes) -> Episode:
    """Read one line of ``episodes.jsonl`` back; frames and prompts are empty.

    Raises:
        ValueError: the line is not an episode, or its totals do not fit its turns.
    """
    try:
        data = json.loads(line)
        turns = tuple(_turn_from_json(index, turn) for index, turn in enumerate(data["turns"]))
        stop = StopReason(data["stop"])
        episode = Episode(int(data["seed"]), turns, stop, bool(data["success"]), dict(data["info"]), data["error"])
        wanted = (data["return"], data["steps"], data["illegal"], data["invalid"], data["repaired"])
    except (KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise ValueError(f"not an episode: {error!r}") from error
    found = (episode.episode_return, episode.steps, episode.n_illegal, episode.n_invalid, episode.n_repaired)
    if found != wanted:
        raise ValueError(f"its totals {wanted} do not fit its turns {found}")
    return episode


def _fields(text: str, status: AnswerStatus) -> Mapping[str, Any]:
    """What an answer says; a strict one is one JSON object, which the library's parser reads much faster than ours."""
    if status is AnswerStatus.STRICT:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
    return read_answer(text, ()).fields


def _turn_from_json(index: int, data: Mapping[str, Any]) -> Turn:
    text, status = data["text"], AnswerStatus(data["status"])
    return Turn(
        index=index,
        frame=None,
        prompt="",
        text=text,
        status=status,
        thoughts=data["thoughts"],
        action=data["action"],
        reward=float(data["reward"]),
        illegal=bool(data["illegal"]),
        tokens=int(data["tokens"]),
        thought_tokens=int(data["thought_tokens"]),
        fields=_fields(text, status),
    )


def read_episodes(folder: Path) -> tuple[list[Episode], int]:
    """Read a folder's episodes.

    Returns:
        the episodes sorted by seed, and how many bytes of a last line that an interruption cut short follow them.

    Raises:
        ResultError: a whole line is damaged, or a seed occurs twice.
    """
    path = folder / EPISODES
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from error
    episodes: dict[int, Episode] = {}
    for number, line in enumerate(lines, start=1):
        mend = "delete that line and run the same gtr-bench eval again"
        try:
            episode = episode_from_line(line)
        except ValueError as error:
            raise ResultError(f"{path}, line {number} is damaged ({error}); {mend}") from error
        if episode.seed in episodes:
            raise ResultError(f"{path}, line {number}: seed {episode.seed} is there twice; {mend}")
        episodes[episode.seed] = episode
    return [episodes[seed] for seed in sorted(episodes)], len(rest)


def read_wall_seconds(folder: Path, n_episodes: int) -> float | None:
    """The seconds that playing took, over all attempts; None if some episodes' time was lost (a killed process)."""
    try:
        lines = [json.loads(line) for line in (folder / TIMING).read_text(encoding="utf-8").splitlines()]
        timed = sum(line["episodes"] for line in lines)
        return float(sum(line["wall_s"] for line in lines)) if timed == n_episodes else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
