"""Scores beside the episodes: kept apart from them, resumable, and checked when they are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from gtr_envs.episode import Request, Response
from gtr_envs.errors import OutputExistsError, ResultError
from leaderboard.scores import SCORES, TurnScores, read_scores, scores_of_episode

from .conftest import Evaluate, SayingPolicy


class ScoredPolicy(SayingPolicy):
    """Says the same as its parent and makes log-probs up."""

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [
            Response(r.text, r.tokens, r.thought_tokens, SimpleNamespace(pieces=[r.text, ""], log_probs=[-0.25, -1e-9]))
            for r in super().act(requests)
        ]


def test_scores_lie_beside_episodes_that_they_do_not_change(evaluation: Evaluate, tmp_path: Path) -> None:
    plain = evaluation(SayingPolicy(), out_dir=tmp_path / "plain")
    scored = evaluation(ScoredPolicy(), scores=True)
    assert (plain.folder / "episodes.jsonl").read_bytes() == (scored.folder / "episodes.jsonl").read_bytes()
    assert not (plain.folder / SCORES).exists()
    found = read_scores(scored.folder)
    assert list(found) == [episode.seed for episode in scored.episodes]
    for episode in scored.episodes:
        scores = scores_of_episode(scored.folder, episode)
        assert scores is not None
        assert [turn.pieces for turn in scores.turns] == [(turn.text, "") for turn in episode.turns]
        assert scores.turns[0].log_probs == (-0.25, 0.0)
        assert scores.turns[0].teacher_log_probs is None


def test_scores_are_resumed_to_the_same_bytes(evaluation: Evaluate, tmp_path: Path) -> None:
    straight = evaluation(ScoredPolicy(), scores=True, out_dir=tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        evaluation(ScoredPolicy(interrupt_at=30), scores=True, batch_size=2)
    (path,) = (tmp_path / "results").rglob(SCORES)
    with path.open("a") as handle:  # scored, but its episode never came to the disk; then a line cut short
        handle.write(json.dumps({"seed": 10_000_000_005, "teacher": None, "turns": []}) + '\n{"seed": 1')
    resumed = evaluation(ScoredPolicy(), scores=True, batch_size=3)
    assert path.read_bytes() == (straight.folder / SCORES).read_bytes()
    assert path == resumed.folder / SCORES


def test_episodes_without_scores_are_told_of_and_not_played_again(evaluation: Evaluate) -> None:
    evaluation(SayingPolicy(), n_episodes=2)
    notices: list[str] = []
    result = evaluation(ScoredPolicy(), n_episodes=3, scores=True, notice=notices.append)
    assert list(read_scores(result.folder)) == [result.episodes[2].seed]
    assert any("2 episodes were played without --record-scores" in notice for notice in notices)


def test_a_policy_without_scores_leaves_empty_ones(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy(), n_episodes=1, scores=True)
    scores = scores_of_episode(result.folder, result.episodes[0])
    assert scores is not None
    assert set(scores.turns) == {TurnScores((), ())}


def test_two_teachers_are_not_mixed(evaluation: Evaluate) -> None:
    evaluation(ScoredPolicy(), n_episodes=1, scores=True, teacher="one")
    with pytest.raises(OutputExistsError, match="teacher one, and now it is two"):
        evaluation(ScoredPolicy(), n_episodes=2, scores=True, teacher="two")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{oops", "damaged"),
        ("[1]", "no scores"),
        ('{"seed": 1}', "no scores"),
        ('{"seed": 1, "turns": [{"pieces": ["a"], "log_probs": [0, 1]}]}', "do not fit"),
        ('{"seed": 1, "turns": [{"pieces": ["a"], "log_probs": [0], "teacher_log_probs": []}]}', "do not fit"),
        ('{"seed": 1, "turns": [{"pieces": [3], "log_probs": [0]}]}', "no text"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / SCORES).write_text('{"seed": 7, "turns": []}\n' + line + "\n")
    with pytest.raises(ResultError, match=rf"scores\.jsonl, line 2.*{what}"):
        read_scores(tmp_path)


def test_a_seed_that_is_there_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / SCORES).write_text('{"seed": 7, "turns": []}\n' * 2)
    with pytest.raises(ResultError, match="seed 7 is there twice"):
        read_scores(tmp_path)


def test_scores_of_another_evaluation_are_noticed(evaluation: Evaluate) -> None:
    result = evaluation(ScoredPolicy(), n_episodes=1, scores=True)
    path = result.folder / SCORES
    path.write_text(path.read_text().replace("thoughts", "thinking"))
    with pytest.raises(ResultError, match="not of the episode"):
        scores_of_episode(result.folder, result.episodes[0])
