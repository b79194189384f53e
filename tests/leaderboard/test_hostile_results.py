"""Results that somebody else made: what stands in their files may be anything, and must stop nothing but themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gtr_envs.episode import Episode, StopReason
from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from leaderboard.agents import AgentCard
from leaderboard.cli_replay import default_page
from leaderboard.compare import compare_results
from leaderboard.records import EPISODES, META, TIMING, episode_to_line, read_wall_seconds
from leaderboard.replay import replay_episode
from leaderboard.site.curves import learning_curves
from leaderboard.site.files import replay_name
from leaderboard.summary import Result, find_results, load_result, summarise
from leaderboard.texts import file_name
from leaderboard.validate import validate
from leaderboard.wording import outcome

from .conftest import Evaluate
from .test_site import site_of
from .test_table import META as SETTINGS
from .test_table import made_up

DEEP = "[" * 100_000 + "]" * 100_000
HUGE = 10**400


def change_settings(result: Result, **changes: Any) -> None:
    path = result.folder / META
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_first_line(result: Result, change: Callable[[dict[str, Any]], Any]) -> None:
    path = result.folder / EPISODES
    first, *others = path.read_text().splitlines()
    line = json.loads(first)
    change(line)
    path.write_text("\n".join([json.dumps(line), *others]) + "\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"agent": "\x1b[2Jnobody"},
        {"split": "x" * 2000},
        {"rules": "two\nlines"},
        {"base_model": {"a": 1}},
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"fingerprint": ["0"]},
        {"git_commit": 7},
        {"versions": []},
        {"n_episodes": 10**12},
        {"seed": HUGE},
    ],
)
def test_settings_that_cannot_be_shown_are_refused(evaluation: Evaluate, changes: dict[str, Any]) -> None:
    result = evaluation(n_episodes=1)
    change_settings(result, **changes)
    with pytest.raises(ResultError, match=r"meta\.json is missing or damaged") as caught:
        load_result(result.folder)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_settings_too_deep_to_read_are_refused(evaluation: Evaluate) -> None:
    result = evaluation(n_episodes=1)
    (result.folder / META).write_text(f'{{"kind": "gtr-bench result", "schema_version": 1, "env_kwargs": {DEEP}}}')
    with pytest.raises(ResultError, match=r"meta\.json is missing or damaged"):
        load_result(result.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line["turns"][0].update(reward=float("inf")),
        lambda line: line["turns"][0].update(reward=1e300),
        lambda line: line["turns"][0].update(tokens=HUGE),
        lambda line: line["turns"][0].update(tokens=-1),
        lambda line: line["turns"][0].update(thoughts=["a"]),
        lambda line: line["turns"][0].update(action={"a": 1}),
        lambda line: line.update(error=5),
        lambda line: line.update(success="false"),
        lambda line: line.update(seed=float(line["seed"])),
        lambda line: line["info"].update(cards=5),
        lambda line: line["info"].update(numbers=[{}]),
        lambda line: line.update(info=[]),
    ],
)
def test_a_line_that_no_evaluation_writes_is_named(evaluation: Evaluate, change: Callable[[Any], Any]) -> None:
    result = evaluation(n_episodes=2)
    change_first_line(result, lambda line: (change(line), line.update({"return": sum_of(line)})))
    with pytest.raises(ResultError, match=r"episodes\.jsonl, line 1 is damaged"):
        load_result(result.folder)


def sum_of(line: dict[str, Any]) -> float:
    return float(sum(turn["reward"] for turn in line["turns"]))


@pytest.mark.parametrize("line", [f'{{"episodes": 1, "wall_s": {HUGE}}}', '{"episodes": 1, "wall_s": 1e999}', DEEP])
def test_seconds_that_cannot_be_are_not_known(evaluation: Evaluate, line: str) -> None:
    result = evaluation(n_episodes=1)
    (result.folder / TIMING).write_text(line + "\n")
    assert read_wall_seconds(result.folder, 1) is None


def test_steps_of_a_run_that_cannot_be_are_left_out(tmp_path: Path) -> None:
    lines = ['{"step": 1, "success": 0.5}', f'{{"step": {HUGE}, "success": 0.5}}', DEEP]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    said: list[str] = []
    (curve,) = learning_curves(tmp_path, said.append)
    assert len(curve.dots) == 1
    assert "2 lines are no records" in said[0]


def test_names_of_replays_stay_in_their_folder() -> None:
    for agent in ("../../up", "/root", "..", "a/../b"):
        result = replace(made_up("T", agent=agent), folder=Path("x") / "..evil")
        page = default_page(result, 0)
        assert page.parent == Path("replays")
        assert ".." not in page.parts
    assert file_name("../.hidden") == "hidden"
    names = {replay_name(replace(SETTINGS, env_id=env_id)) for env_id in ("x" * 4000, "x" * 4001, "a b/c", "a/b c")}
    assert len(names) == 4
    assert max(map(len, names)) < 140


def test_an_environment_that_is_not_here_costs_its_pictures_alone(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(n_episodes=2)
    change_settings(result, env_id="os:Nothing-v0")
    (foreign,) = find_results([result.folder])
    with pytest.raises(ResultError, match="cannot be played again: "):
        replay_episode(foreign.meta, foreign.episodes[0])
    page = site_of(tmp_path, [foreign], replays=True) / "agents" / "random.html"
    assert "No pictures: " in page.read_text()
    assert [checked.n_replayed for checked in validate([result.folder])] == [0]


def test_a_result_cannot_name_a_folder_to_read(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(n_episodes=1)
    change_settings(result, env_id="gtr/ALFWorld-v0", env_kwargs={"data": str(tmp_path)})
    (foreign,) = find_results([result.folder])
    with pytest.raises(ResultError, match="a record names 'generated' or 'alfworld'"):
        replay_episode(foreign.meta, foreign.episodes[0])


def test_a_line_in_another_encoding_is_damaged_and_the_others_are_checked(evaluation: Evaluate) -> None:
    result = evaluation(n_episodes=3)
    path = result.folder / EPISODES
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as some editors save
    (checked,) = validate([result.folder])
    assert any("line 1: is damaged or made up" in str(finding) for finding in checked.errors)
    assert checked.n_replayed == 2


def test_an_action_reaches_no_terminal_with_its_codes(evaluation: Evaluate) -> None:
    result = evaluation(n_episodes=1)

    def paint(line: dict[str, Any]) -> None:
        line["turns"][0]["action"] = line["actions"][0] = "\x1b[31mred"

    change_first_line(result, paint)
    (checked,) = validate([result.folder])
    said = "\n".join(map(str, checked.findings))
    assert "red" in said
    assert "\x1b" not in said


def test_a_crash_at_the_start_is_taken_as_recorded_and_told(evaluation: Evaluate) -> None:
    result = evaluation(n_episodes=2)
    episode = result.episodes[0]
    crashed = Episode(episode.seed, (), StopReason.CRASHED, False, {}, "OSError: no \x1b[1mroom\nand more")
    lines = [episode_to_line(crashed), episode_to_line(result.episodes[1])]
    (result.folder / EPISODES).write_text("\n".join(lines) + "\n")
    (checked,) = validate([result.folder])
    assert [text for text in map(str, checked.errors) if EPISODES in text] == []
    assert any("1 episodes crashed" in str(finding) for finding in checked.warnings)
    assert summarise([crashed]).first_crash == "OSError: no \ufffd[1mroom"
    assert outcome(crashed, "gtr/Points24-v0") == "crashed: OSError: no \ufffd[1mroom\nand more"
    assert outcome(crashed, "gtr/Points24-v0", error=False) == "crashed"


def test_one_game_in_data_sets_that_lie_elsewhere_is_a_pair() -> None:
    def at(root: str, agent: str, game: str = "trial_1") -> Result:
        result = made_up("T", agent=agent)
        (episode,) = result.episodes
        info = {"task": "find it", "gamefile": f"{root}/train/pick-Mug/{game}/game.tw-pddl"}
        return replace(result, episodes=(replace(episode, info=info),))

    assert compare_results([at("/data", "a")], [at("/home/me/alfworld", "b")]).pooled.n == 1
    with pytest.raises(ResultError, match=r"is .*trial_1.* in one and .*trial_2"):
        compare_results([at("/data", "a")], [at("/data", "b", "trial_2")])


def test_outcomes_have_the_words_of_their_environment(evaluation: Evaluate) -> None:
    solved = evaluation(SolverPolicy(), n_episodes=1, agent=AgentCard("b", "b", "b")).episodes[0]
    lost = replace(solved, success=False)
    assert outcome(solved, "gtr/Points24-v0") == "solved"
    assert outcome(lost, "gtr/Points24-v0") == "wrong formula"
    assert outcome(lost) == "ended without success"
