"""Comparisons: which episodes are pairs, what is found of them, and the sentence that sums it up."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from gtr_envs.errors import ResultError
from gtr_envs.experts import RandomPolicy, SolverPolicy
from leaderboard.cli import main
from leaderboard.compare import Difference, compare_results, conclude
from leaderboard.stats import Interval
from leaderboard.summary import Result, find_results

from .conftest import Evaluate
from .test_table import made_up


def difference(only_first: int, only_second: int, success: Interval, p_value: float) -> Difference:
    return Difference(
        "gtr/Points24-v0", "strict", "all", 150, 0.0, 0.0, only_first, only_second, success, p_value, None
    )


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            difference(12, 20, Interval(0.053, -0.021, 0.128), 0.21),
            "On 150 shared hands B solves 5.3 points more than A [-2.1, 12.8]; p = 0.21: no difference shown.",
        ),
        (
            difference(30, 10, Interval(-0.1333, -0.21, -0.05), 0.0022),
            "On 150 shared hands A solves 13.3 points more than B [5.0, 21.0]; p = 0.0022: A is better.",
        ),
        (
            difference(0, 90, Interval(0.6, 0.5, 0.7), 1e-20),
            "On 150 shared hands B solves 60.0 points more than A [50.0, 70.0]; p < 0.001: B is better.",
        ),
        (
            difference(4, 4, Interval(0.0, -0.03, 0.03), 1.0),
            "On 150 shared hands A and B solve equally many, but not the same ones [-3.0, 3.0]; p = 1: "
            "no difference shown.",
        ),
        (
            difference(0, 0, Interval(0.0, 0.0, 0.0), 1.0),
            "On 150 shared hands A and B succeed on the same ones: no difference shown.",
        ),
        (
            difference(0, 1, Interval(1.0, math.nan, math.nan), 1.0),
            "On 150 shared hands B solves 100.0 points more than A; p = 1: no difference shown.",
        ),
    ],
)
def test_what_may_be_concluded(found: Difference, sentence: str) -> None:
    assert conclude("A", "B", found) == sentence


def test_other_environments_have_episodes() -> None:
    found = replace(difference(0, 0, Interval(0.0, 0.0, 0.0), 1.0), env_id="gtr/ALFWorld-v0")
    assert conclude("A", "B", found).startswith("On 150 shared episodes")


def test_hands_are_paired_by_seed(evaluation: Evaluate) -> None:
    random, expert = evaluation(RandomPolicy(), n_episodes=9), evaluation(SolverPolicy(), n_episodes=12)
    found = compare_results([random], [expert])
    (part,) = found.parts
    assert (found.first, found.second, part.n) == ("random", "expert", 9)
    assert (part.only_first, part.only_second, part.second_success) == (0, 9, 1.0)
    assert part.p_value == pytest.approx(2 / 2**9)
    gained = [expert.episodes[i].episode_return - random.episodes[i].episode_return for i in range(9)]
    assert part.episode_return is not None
    assert part.episode_return.value == pytest.approx(sum(gained) / 9)
    assert found.pooled == part
    assert "expert is better" in found.conclusion


def test_one_hand_against_five_by_hand() -> None:
    # one hand only the first solved, five only the second: p = 2 * (C(6,0) + C(6,1)) / 2^6 = 14 / 64
    found = compare_results([made_up("TtttttTt")], [made_up("tTTTTTTt", agent="b")]).pooled
    assert (found.n, found.only_first, found.only_second) == (8, 1, 5)
    assert found.p_value == pytest.approx(14 / 64)
    assert found.success.value == pytest.approx(4 / 8)
    assert found.success.low < 0.5 < found.success.high


def test_a_hand_that_two_splits_dealt_counts_once_together(evaluation: Evaluate) -> None:
    sides = [
        [evaluation(policy, n_episodes=20, options={"split": split}) for split in ("all", "train")]
        for policy in (RandomPolicy(), SolverPolicy())
    ]
    found = compare_results(*sides)
    seen = {(e.seed, str(e.info["cards"])) for result in sides[0] for e in result.episodes}
    assert [part.n for part in found.parts] == [20, 20]
    assert found.pooled.n == len(seen) < 40


def test_seeds_are_strata_of_one_part(evaluation: Evaluate) -> None:
    sides = [[evaluation(policy, seed=seed) for seed in (0, 1)] for policy in (RandomPolicy(), SolverPolicy())]
    (part,) = compare_results(*sides).parts
    assert part.n == 12


def test_environments_are_pooled_without_their_returns(tmp_path: Path) -> None:
    grounds = ["--env", "gtr/Points24-v0", "--env", "gtr/NumberLine-v0", "-n", "4", "--out", str(tmp_path)]
    assert main(["eval", "--agent", "random", "--agent", "expert", *grounds]) == 0
    sides = [find_results([tmp_path / agent]) for agent in ("random", "expert")]
    found = compare_results(*sides)
    assert [(part.env_id, part.n) for part in found.parts] == [("gtr/NumberLine-v0", 4), ("gtr/Points24-v0", 4)]
    assert all(part.episode_return is not None for part in found.parts)
    assert (found.pooled.n, found.pooled.episode_return) == (8, None)
    assert found.conclusion.startswith("On 8 shared episodes")


def test_nothing_in_common_says_what_each_has(evaluation: Evaluate) -> None:
    one, other = evaluation(RandomPolicy()), evaluation(SolverPolicy(), seed=1, options={"hands": "all"})
    with pytest.raises(
        ResultError, match=r"no episodes in common: random has .*seed 0 \(strict\); expert has .*hands=all"
    ):
        compare_results([one], [other])


def test_other_hands_under_the_same_seed_are_refused(evaluation: Evaluate) -> None:
    one, other = evaluation(RandomPolicy()), evaluation(SolverPolicy())
    changed = [replace(episode, info={**episode.info, "cards": ["AS"]}) for episode in other.episodes]
    with pytest.raises(ResultError, match="evaluate both again"):
        compare_results([one], [replace(other, episodes=tuple(changed))])


def test_agents_of_one_name_are_called_by_their_folders(evaluation: Evaluate, tmp_path: Path) -> None:
    one, other = evaluation(), evaluation(out_dir=tmp_path / "other")
    found = compare_results([one], [other])
    assert (found.first, found.second) == (str(one.folder), str(other.folder))
    assert found.conclusion.endswith("succeed on the same ones: no difference shown.")


@pytest.fixture
def both(evaluation: Evaluate) -> tuple[Result, Result]:
    return evaluation(RandomPolicy()), evaluation(SolverPolicy())


def test_the_command_prints_a_table_and_a_sentence(
    both: tuple[Result, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = str(tmp_path / "results")
    assert main(["compare", "random", "expert", "--results", results]) == 0
    printed = capsys.readouterr().out
    assert "A: random" in printed
    assert printed.endswith("points more than random [100.0, 100.0]; p = 0.031: expert is better.\n")
    assert main(["compare", str(both[0].folder), f"{results}/expert", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["second"], found["pooled"]["n"], found["parts"][0]["only_second"]) == ("expert", 6, 6)


def test_an_unfinished_side_is_told_of(
    both: tuple[Result, Result], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = both[1].folder / "episodes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    assert main(["compare", "random", "expert", "--results", str(tmp_path / "results")]) == 0
    output = capsys.readouterr()
    assert "2 of 6 episodes" in output.err
    assert "On 2 shared hands" in output.out


@pytest.mark.parametrize(
    ("sides", "hint"),
    [
        (("random", "nobody"), "it holds: expert, random"),
        (("random", "random"), "two different results"),
        (("results", "random"), "2 agents (expert, random)"),
    ],
)
def test_a_side_that_names_nothing_usable(
    both: tuple[Result, Result],
    tmp_path: Path,
    sides: tuple[str, str],
    hint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *sides]) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.count("\n") == 1


def test_no_folder_of_results_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "a", "b"]) == 2
    assert "no folder results" in capsys.readouterr().err
