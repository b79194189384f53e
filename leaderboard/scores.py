"""How likely each token of an answer was: to the agent that wrote it and, where one was named, to a teacher.

``scores.jsonl`` lies beside ``episodes.jsonl``, one line an episode, with the same seeds and turns::

    {"seed": 10000000000, "teacher": "warm-start",
     "turns": [{"pieces": ["{\\"", "cards"], "log_probs": [-0.01, -0.3], "teacher_log_probs": [-0.02, -0.1]}]}

``pieces`` joined are the turn's text. Nothing is computed from this file but shading: it is no part of what a result
is, and the episodes' file has the same bytes with and without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gtr_envs.episode import Episode
from gtr_envs.errors import OutputExistsError, ResultError
from gtr_envs.storage import to_json, write_atomic
from leaderboard.records import read_by_seed

SCORES = "scores.jsonl"
DIGITS = 5
"""Decimals that are kept of a log-prob."""


@dataclass(frozen=True)
class TurnScores:
    """The tokens of one answer; none at all where a policy gave no scores.

    Attributes:
        pieces: the text that each token adds; the token that ends an answer adds none.
        log_probs: of each, in nats, under the agent as it sampled.
        teacher_log_probs: of each under the teacher; None where there is no teacher.
    """

    pieces: tuple[str, ...]
    log_probs: tuple[float | None, ...]
    teacher_log_probs: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class EpisodeScores:
    """The tokens of one episode, turn by turn; and the teacher's name, None without one."""

    seed: int
    turns: tuple[TurnScores, ...]
    teacher: str | None = None


def scores_of(episode: Episode, teacher: str | None = None) -> EpisodeScores:
    """What an episode's turns hold in ``extra``: anything with ``pieces`` and ``log_probs``, as the policy gave it."""
    return EpisodeScores(episode.seed, tuple(_turn_scores(turn.extra) for turn in episode.turns), teacher)


def _turn_scores(extra: Any) -> TurnScores:
    if not hasattr(extra, "pieces") or not hasattr(extra, "log_probs"):
        return TurnScores((), ())
    teacher = getattr(extra, "teacher_log_probs", None)
    return TurnScores(tuple(extra.pieces), _rounded(extra.log_probs), None if teacher is None else _rounded(teacher))


def _rounded(values: Sequence[float | None]) -> tuple[float | None, ...]:
    return tuple(None if value is None else round(float(value), DIGITS) for value in values)


def scores_to_line(scores: EpisodeScores) -> str:
    """One line of ``scores.jsonl``, without its line end."""
    return to_json({"seed": scores.seed, "teacher": scores.teacher, "turns": [asdict(t) for t in scores.turns]})


def scores_from_line(line: str | bytes) -> EpisodeScores:
    """Read one line back.

    Raises:
        ValueError: it holds no scores.
    """
    try:
        data = json.loads(line)
        teacher = data.get("teacher")
        turns = tuple(_turn_from_json(turn) for turn in data["turns"])
        return EpisodeScores(int(data["seed"]), turns, None if teacher is None else str(teacher))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"no scores: {error!r}") from error


def _turn_from_json(data: Any) -> TurnScores:
    pieces = tuple(data["pieces"])
    if not all(isinstance(piece, str) for piece in pieces):
        raise ValueError("a piece is no text")
    teacher = data.get("teacher_log_probs")
    rows = [data["log_probs"], *([] if teacher is None else [teacher])]
    if any(len(row) != len(pieces) for row in rows):
        raise ValueError(f"{len(pieces)} pieces do not fit {' and '.join(str(len(row)) for row in rows)} log-probs")
    numbers = [tuple(None if value is None else float(value) for value in row) for row in rows]
    return TurnScores(pieces, numbers[0], numbers[1] if teacher is not None else None)


def read_scores(folder: Path) -> dict[int, EpisodeScores]:
    """Read a folder's scores, by the episodes' seeds; empty where none were recorded.

    A last line that an interruption cut short is left out.

    Raises:
        ResultError: a whole line is damaged, or a seed occurs twice.
    """
    return read_by_seed(folder / SCORES, scores_from_line, "delete that line")[0]


def scores_of_episode(folder: Path, episode: Episode) -> EpisodeScores | None:
    """The scores of one recorded episode; None where there are none.

    Raises:
        ResultError: the file is damaged, or its scores are another episode's.
    """
    scores = read_scores(folder).get(episode.seed)
    if scores is None:
        return None
    pairs = zip(scores.turns, episode.turns, strict=False)
    if len(scores.turns) != episode.steps or any(
        found.pieces and "".join(found.pieces) != turn.text for found, turn in pairs
    ):
        raise ResultError(
            f"{folder / SCORES}: the scores of seed {episode.seed} are not of the episode that was recorded; "
            "delete that line"
        )
    return scores


def prepare_scores(folder: Path, finished: Collection[int], teacher: str | None, notice: Callable[[str], None]) -> None:
    """Mend a folder's scores before more are added: those of episodes that will be played again are dropped.

    Args:
        folder: the evaluation's.
        finished: the seeds of its episodes.
        teacher: the name of the teacher that will score.
        notice: called with a line of text where episodes have no scores.

    Raises:
        ResultError: the file is damaged.
        OutputExistsError: another teacher scored the episodes that are there.
    """
    there = {seed: scores for seed, scores in read_scores(folder).items() if seed in set(finished)}
    others = sorted({str(scores.teacher) for scores in there.values() if scores.teacher != teacher})
    if others:
        raise OutputExistsError(
            f"{folder / SCORES} holds scores with teacher {others[0]}, and now it is {teacher}; choose another --out, "
            "or delete that file"
        )
    missing = len(set(finished) - there.keys())
    if missing:
        notice(f"{folder}: {missing} episodes were played without --record-scores, and stay without scores")
    if (folder / SCORES).exists():
        write_sorted(folder, there)


def write_sorted(folder: Path, scores: dict[int, EpisodeScores]) -> None:
    """Write the scores, sorted by seed, whole or not at all."""
    write_atomic(folder / SCORES, "".join(scores_to_line(scores[seed]) + "\n" for seed in sorted(scores)))
