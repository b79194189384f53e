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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gtr_envs.episode import Episode, StopReason, Turn
from gtr_envs.errors import ResultError
from gtr_envs.protocol import AnswerStatus, read_answer
from gtr_envs.storage import to_json
from leaderboard.run_meta import IDENTITY as IDENTITY
from leaderboard.run_meta import KIND as KIND
from leaderboard.run_meta import MAX_EPISODES as MAX_EPISODES
from leaderboard.run_meta import MAX_SEED as MAX_SEED
from leaderboard.run_meta import META as META
from leaderboard.run_meta import SCHEMA_VERSION as SCHEMA_VERSION
from leaderboard.run_meta import RunMeta as RunMeta
from leaderboard.run_meta import check_same_run as check_same_run
from leaderboard.run_meta import is_result as is_result
from leaderboard.run_meta import read_meta as read_meta
from leaderboard.run_meta import write_meta as write_meta

EPISODES, TIMING, SUMMARY = "episodes.jsonl", "timing.jsonl", "summary.json"
LARGEST = 1e12
"""No reward, number of tokens or of seconds lies beyond: what does is made up, and figures would overflow."""


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
        seed, success, info, error = data["seed"], data["success"], data["info"], data["error"]
        if type(seed) is not int or type(success) is not bool or not isinstance(error, str | None):
            raise TypeError(f"seed {seed!r:.50}, success {success!r:.50}, error {error!r:.50}")
        _check_info(info)
        episode = Episode(seed, turns, stop, success, info, error)
        wanted = (data["return"], data["steps"], data["illegal"], data["invalid"], data["repaired"])
    except (KeyError, TypeError, OverflowError, RecursionError, AttributeError) as error:
        raise ValueError(f"not an episode: {error!r:.300}") from error
    found = (episode.episode_return, episode.steps, episode.n_illegal, episode.n_invalid, episode.n_repaired)
    if found != wanted:
        raise ValueError(f"its totals {wanted!r:.300} do not fit its turns {found}")
    return episode


def _check_info(info: Mapping[str, Any]) -> None:
    """Raises TypeError where an episode's start is not described as :class:`gtr_envs.episode.Seat` does it."""
    for name, value in info.items():
        values = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, (str, int, float)) for item in values):
            raise TypeError(f"info {name!r:.50} is {value!r:.100}, which is no plain value or list of such")
        if name in ("cards", "numbers") and values is not value:
            raise TypeError(f"info {name} is {value!r:.100}, which is no list")


def _fields(text: str, status: AnswerStatus) -> Mapping[str, Any]:
    """What an answer says; a strict one is one JSON object, which the library's parser reads much faster than ours."""
    if status is AnswerStatus.STRICT:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            if isinstance(found, dict):
                return found
    return read_answer(text, ()).fields


def _turn_from_json(index: int, data: Mapping[str, Any]) -> Turn:
    text, thoughts, action, status = data["text"], data["thoughts"], data["action"], AnswerStatus(data["status"])
    if not (type(text) is str and type(thoughts) is str and (action is None or type(action) is str)):
        raise TypeError(f"turn {index + 1} has a text, a thought or an action that is none")
    reward, tokens, thought_tokens = float(data["reward"]), int(data["tokens"]), int(data["thought_tokens"])
    if not (abs(reward) <= LARGEST and 0 <= tokens <= LARGEST and 0 <= thought_tokens <= LARGEST):  # NaN is not, either
        raise ValueError(f"turn {index + 1} has reward {reward}, {tokens:.3g} tokens, {thought_tokens:.3g} of thought")
    return Turn(
        index=index,
        frame=None,
        prompt="",
        text=text,
        status=status,
        thoughts=thoughts,
        action=action,
        reward=reward,
        illegal=bool(data["illegal"]),
        tokens=tokens,
        thought_tokens=thought_tokens,
        fields=_fields(text, status),
    )


def read_episodes(folder: Path) -> tuple[list[Episode], int]:
    """Read a folder's episodes.

    Returns:
        the episodes sorted by seed, and how many bytes of a last line that an interruption cut short follow them.

    Raises:
        ResultError: a whole line is damaged, or a seed occurs twice.
    """
    fix = "delete that line and run the same gtr-bench eval again"
    episodes, rest = read_by_seed(folder / EPISODES, episode_from_line, fix)
    return [episodes[seed] for seed in sorted(episodes)], rest


def read_by_seed(path: Path, from_line: Callable[[bytes], Any], fix: str) -> tuple[dict[int, Any], int]:
    """Read a file with a line for each episode; one that is not there is empty.

    Args:
        path: the file.
        from_line: reads a line, of something that has a ``seed``; raises ValueError if it is damaged.
        fix: what to do about a damaged line, in words.

    Returns:
        what the lines hold, by seed, and how many bytes of a last line that an interruption cut short follow them.

    Raises:
        ResultError: a whole line is damaged, or a seed occurs twice.
    """
    try:
        *lines, rest = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}, 0
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from error
    found: dict[int, Any] = {}
    for number, line in enumerate(lines, start=1):
        try:
            one = from_line(line)
        except ValueError as error:
            raise ResultError(f"{path}, line {number} is damaged ({error}); {fix}") from error
        if one.seed in found:
            raise ResultError(f"{path}, line {number}: seed {one.seed} is there twice; {fix}")
        found[one.seed] = one
    return found, len(rest)


def result_folders(path: Path) -> list[Path]:
    """The folders of evaluations in and below a folder, by name, damaged ones too.

    One that has episodes is among them whatever its settings look like: left out in silence, it would change every
    figure over several of them.
    """
    settings = {file.parent for file in path.rglob(META) if is_result(file.parent)}
    return sorted(settings | {file.parent for file in path.rglob(EPISODES)})


def read_wall_seconds(folder: Path, n_episodes: int) -> float | None:
    """The seconds that playing took, over all attempts; None if some episodes' time was lost (a killed process)."""
    try:
        lines = [json.loads(line) for line in (folder / TIMING).read_text(encoding="utf-8").splitlines()]
        timed = sum(line["episodes"] for line in lines)
        seconds = float(sum(line["wall_s"] for line in lines))
        return seconds if timed == n_episodes and 0 <= seconds <= LARGEST else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
