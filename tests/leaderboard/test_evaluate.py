"""Evaluations: what is recorded, that it can be resumed, and that nothing but the settings decides the bytes."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import leaderboard.evaluate as module
from gtr_envs.episode import EVAL_SEED_BASE, StopReason
from gtr_envs.errors import OutputExistsError, ResultError, RunBusyError, SettingError, UnknownEnvironmentError
from gtr_envs.experts import SolverPolicy
from gtr_envs.storage import LOCK, locked
from leaderboard.agents import AgentCard
from leaderboard.card_reading import card_value
from leaderboard.evaluate import Progress, rules_in_words
from leaderboard.records import episode_from_line, episode_to_line
from leaderboard.summary import find_results, load_result, summarise

from .conftest import Evaluate, SayingPolicy


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


def test_an_evaluation_records_every_episode(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy())
    records = lines(result.folder)
    assert [record["seed"] for record in records] == [EVAL_SEED_BASE + i for i in range(6)]
    for record in records:
        assert record["return"] == sum(turn["reward"] for turn in record["turns"])
        assert record["actions"] == [turn["action"] for turn in record["turns"]]
        assert record["tokens"] == 7 * record["steps"]
        assert len(record["info"]["cards"]) == 4
    meta = json.loads((result.folder / "meta.json").read_text())
    assert (meta["agent"], meta["split"], meta["rules"], meta["n_episodes"]) == ("saying", "all", "strict", 6)
    summary = json.loads((result.folder / "summary.json").read_text())
    assert summary["n_episodes"] == 6
    assert summary["thought_tokens_mean"] == 5.0
    assert summary["card_reading"]["accuracy"] == 1.0


def test_the_expert_solves_every_solvable_hand(evaluation: Evaluate) -> None:
    summary = evaluation(SolverPolicy(), n_episodes=10).summary
    assert (summary.success.successes, summary.n_solvable, summary.episode_return.value) == (10, 10, 10.0)
    assert summary.success_train.n + summary.success_test.n == 10


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_deals_its_own_side(evaluation: Evaluate, split: str) -> None:
    result = evaluation(options={"split": split})
    assert {episode.info["hand_split"] for episode in result.episodes} == {split}
    assert result.meta.split == split


def test_batch_size_does_not_change_a_byte(evaluation: Evaluate, tmp_path: Path) -> None:
    one, many = (
        evaluation(SayingPolicy(), batch_size=size, out_dir=tmp_path / str(size)).folder / "episodes.jsonl"
        for size in (1, 5)
    )
    assert one.read_bytes() == many.read_bytes()


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(evaluation: Evaluate, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        evaluation(SayingPolicy(interrupt_at=30), batch_size=2)
    (partial,) = find_results([tmp_path / "results"])
    assert 0 < len(partial.episodes) < 6
    seen: list[Progress] = []
    resumed = evaluation(SayingPolicy(), batch_size=3, on_progress=seen.append)
    assert seen[0].done == len(partial.episodes)
    straight = evaluation(SayingPolicy(), out_dir=tmp_path / "straight")
    assert (resumed.folder / "episodes.jsonl").read_bytes() == (straight.folder / "episodes.jsonl").read_bytes()
    assert resumed.summary.wall_s is not None


def test_a_finished_evaluation_is_not_played_again(evaluation: Evaluate) -> None:
    first = evaluation(SayingPolicy())
    again = SayingPolicy()
    assert evaluation(again) == first
    assert again.calls == 0


def test_a_line_cut_short_is_dropped_and_played_again(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy())
    path = result.folder / "episodes.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    notices: list[str] = []
    evaluation(SayingPolicy(), notice=notices.append)
    assert path.read_bytes() == whole
    assert any("cut short" in notice for notice in notices)


def test_lost_time_is_not_made_up(evaluation: Evaluate) -> None:
    result = evaluation()
    (result.folder / "timing.jsonl").unlink()
    assert load_result(result.folder).summary.wall_s is None


def test_an_evaluation_can_be_extended_but_not_cut(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation(SayingPolicy(), n_episodes=3)
    longer = evaluation(SayingPolicy(), n_episodes=5)
    straight = evaluation(SayingPolicy(), n_episodes=5, out_dir=tmp_path / "straight")
    assert (longer.folder / "episodes.jsonl").read_bytes() == (straight.folder / "episodes.jsonl").read_bytes()
    with pytest.raises(OutputExistsError, match="--episodes 5"):
        evaluation(SayingPolicy(), n_episodes=3)


@pytest.mark.parametrize(
    ("name", "value"), [("fingerprint", "f00"), ("temperature", 0.5), ("method", "ppo"), ("base_model", "other")]
)
def test_another_agent_of_the_same_name_is_refused(evaluation: Evaluate, name: str, value: object) -> None:
    agent = AgentCard("me", "runs/me", "sft", "tiny", "abc", 1.0)
    result = evaluation(agent=agent)
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    with pytest.raises(OutputExistsError, match=rf"{name} is .* there and .*{value}.*choose another --out or --name"):
        evaluation(agent=replace(agent, **{name: value}))  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == before


def test_the_same_weights_from_another_path_are_the_same_agent(evaluation: Evaluate) -> None:
    agent = AgentCard("me", "runs/me", "sft", "tiny", "abc", 1.0)
    assert evaluation(agent=agent) == evaluation(agent=replace(agent, spec="/elsewhere/me"))


def test_two_processes_do_not_write_one_folder(evaluation: Evaluate) -> None:
    result = evaluation()
    assert not (result.folder / LOCK).exists()
    with locked(result.folder, "evaluated"), pytest.raises(RunBusyError, match="is being evaluated into by process"):
        evaluation()


def test_an_evaluation_on_a_file_system_without_locks_says_so(
    evaluation: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", without_locks)
    notices: list[str] = []
    assert len(evaluation(notice=notices.append).episodes) == 6
    assert ["knows no locks" in line for line in notices] == [True]


class CrashingEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose third step fails in one episode."""

    def reset(self, **kwargs: Any) -> Any:
        self.seed, self.steps = kwargs["seed"], 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.seed == EVAL_SEED_BASE + 2 and self.steps == 3:
            raise RuntimeError("engine died")
        return self.env.step(action)


def test_a_crashed_episode_is_a_failure_that_stays_visible(
    evaluation: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.make_text_env

    def make(env_id: str, **kwargs: Any) -> Any:
        env = real(env_id, **kwargs)
        env.env = CrashingEnv(env.env)
        return env

    monkeypatch.setattr(module, "make_text_env", make)
    result = evaluation(SolverPolicy(), n_episodes=4)
    crashed = result.episodes[2]
    assert (crashed.stop, crashed.success, crashed.error) == (StopReason.CRASHED, False, "RuntimeError: engine died")
    assert (result.summary.crashed, result.summary.success.successes, result.summary.n_episodes) == (1, 3, 4)


def test_damage_inside_the_file_is_an_error_and_not_a_gap(evaluation: Evaluate) -> None:
    result = evaluation()
    path = result.folder / "episodes.jsonl"
    good = path.read_text().splitlines(keepends=True)
    for bad, what in ((["{}\n"], "not an episode"), (["{oops\n"], "damaged"), ([good[0]], "there twice")):
        path.write_text("".join([good[0], *bad, *good[2:]]))
        with pytest.raises(ResultError, match=f"line 2.*{what}"):
            load_result(result.folder)


def test_totals_that_were_edited_are_noticed(evaluation: Evaluate) -> None:
    result = evaluation()
    path = result.folder / "episodes.jsonl"
    path.write_text(path.read_text().replace('"return": -1.0', '"return": 10.0', 1))
    with pytest.raises(ResultError, match="do not fit its turns"):
        load_result(result.folder)


def test_settings_that_are_missing_or_damaged(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation()
    (result.folder / "meta.json").write_text('{"kind": "gtr-bench result", "schema_version": 1}')
    with pytest.raises(ResultError, match=r"meta\.json is missing or damaged .*put it back as it was") as caught:
        find_results([tmp_path])
    assert "delete" not in str(caught.value), "the episodes beside it are whole"
    (result.folder / "meta.json").write_text('{"kind": "gtr-bench result", "schema_version": 99}')
    with pytest.raises(ResultError, match="schema_version 99"):
        find_results([tmp_path])
    (result.folder / "meta.json").unlink()
    with pytest.raises(ResultError):
        evaluation()


@pytest.mark.parametrize("text", ["</script>", '"', "\ud800", "\x00", "中", "\n", "\u2028"])
def test_any_thought_survives_a_line(evaluation: Evaluate, text: str) -> None:
    result = evaluation(SayingPolicy(f"a{text}b"), n_episodes=1)
    (episode,) = result.episodes
    assert {turn.thoughts for turn in episode.turns} == {f"a{text}b"}
    assert episode_from_line(episode_to_line(episode)) == episode


def test_what_was_written_gives_the_same_figures(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy(), n_episodes=12)
    assert summarise(result.episodes, result.summary.wall_s) == result.summary
    assert result.summary.illegal_rate > 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_episodes": 0}, SettingError, "0 episodes"),
        ({"seed": -1}, SettingError, "seed -1"),
        ({"batch_size": 0}, SettingError, "batch size 0"),
        ({"options": {"split": "dev"}}, SettingError, "dev"),
        ({"options": {"colour": "red"}}, SettingError, "colour"),
    ],
)
def test_bad_arguments_leave_nothing_behind(
    evaluation: Evaluate, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        evaluation(**changes)
    assert not list(tmp_path.iterdir())


def test_an_unknown_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownEnvironmentError, match=r"Chess.*gtr/Points24-v0"):
        module.make_meta(AgentCard("a", "a", "a"), "gtr/Chess-v0", {}, 0, 1)


def test_options_at_their_default_do_not_count() -> None:
    assert module.normal_options("gtr/Points24-v0", {"hands": "solvable", "invalid": "penalty"}) == {}
    options = module.normal_options("gtr/Points24-v0", {"split": "test", "hands": "all"})
    assert rules_in_words(options) == "strict hands=all"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (7, 7),
        ("7", 7),
        ("K", 10),
        ("10S", 10),
        ("ah", 1),
        ("Queen", 10),
        ("2♥", 2),
        (True, None),
        ("x", None),
        (2.0, None),
    ],
)
def test_card_values_as_agents_write_them(text: object, value: int | None) -> None:
    assert card_value(text) == value
