"""The leaderboard's CSV and the standings: schema, order, bytes, and that nothing is mixed that must not be."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from gtr_envs.episode import Episode, StopReason, Turn
from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import AnswerStatus
from leaderboard.agents import AgentCard
from leaderboard.records import RunMeta
from leaderboard.standings import compare, percent, standings, standings_table
from leaderboard.summary import Result, SuccessRate, find_results, summarise
from leaderboard.table import COLUMNS, format_csv, measured_rows, parse_csv, reported_rows, write_csv

from .conftest import Evaluate, SayingPolicy

DESIGN = (
    "schema_version, agent, method, base_model, env_id, split, rules, seed, n_episodes, n_solvable, success_rate, "
    "success_lo, success_hi, return_mean, return_lo, return_hi, illegal_rate, invalid_answer_rate, repaired_rate, "
    "steps_mean, thought_tokens_mean, tokens_out, wall_s, temperature, source, reference, version, git_commit, date"
)
META = RunMeta(
    agent="a",
    spec="random",
    method="m",
    base_model=None,
    fingerprint=None,
    env_id="gtr/Points24-v0",
    env_kwargs={},
    split="all",
    rules="strict",
    seed=0,
    n_episodes=4,
    temperature=None,
    version="0.1.0",
    git_commit=None,
    date="2026-01-02",
)


def made_up(outcomes: str, **changes: object) -> Result:
    """An evaluation whose episodes end well (``T``rain, ``E``: test) or badly (small letters), a turn each."""
    episodes = []
    for index, letter in enumerate(outcomes):
        success, side = letter.isupper(), {"t": "train", "e": "test"}[letter.lower()]
        reward = 10.0 if success else -1.0
        turn = Turn(0, None, "", "", AnswerStatus.STRICT, "", "=", reward, False, 20, 10)
        info = {"solvable": True, "hand_split": side}
        episodes.append(Episode(index, (turn,), StopReason.TERMINATED, success, info))
    meta = replace(META, n_episodes=len(outcomes), **changes)  # type: ignore[arg-type]
    return Result(Path(f"{meta.agent}-{meta.split}-{meta.seed}"), meta, tuple(episodes), summarise(episodes, 1.26))


def test_the_columns_are_the_agreed_ones() -> None:
    assert ", ".join(COLUMNS) == DESIGN


def test_one_row_worked_by_hand() -> None:
    header, row = format_csv(measured_rows([made_up("TtEt")])).splitlines()
    expected = {
        "schema_version": "1",
        "agent": "a",
        "base_model": "",
        "n_episodes": "4",
        "n_solvable": "4",
        "success_rate": "0.5000",
        "success_lo": "0.1500",  # (0.5 + z^2 / 8 - z sqrt(1 / 16 + z^2 / 64)) / (1 + z^2 / 4), z = 1.96
        "success_hi": "0.8500",
        "return_mean": "4.5000",
        "return_lo": "-1.0000",
        "return_hi": "10.0000",
        "illegal_rate": "0.0000",
        "steps_mean": "1.0000",
        "thought_tokens_mean": "10.0000",
        "tokens_out": "80",
        "wall_s": "1.3",
        "temperature": "",
        "source": "measured",
        "reference": "",
        "git_commit": "",
        "date": "2026-01-02",
    }
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert {name: cells[name] for name in expected} == expected


def test_pandas_reads_numbers_as_numbers() -> None:
    frame = pd.read_csv(io.StringIO(format_csv(measured_rows([made_up("Tt", temperature=1.0)]))))
    for column in ("seed", "n_episodes", "n_solvable", "tokens_out", "schema_version"):
        assert frame[column].dtype == "int64"
    for column in ("success_rate", "success_lo", "return_mean", "wall_s", "temperature"):
        assert frame[column].dtype == "float64"


def test_the_order_is_by_environment_split_and_success_over_all_seeds() -> None:
    results = [
        made_up("tt", agent="weak", seed=1),
        made_up("Tt", agent="weak", seed=0),
        made_up("TT", agent="strong", seed=1),
        made_up("tT", agent="strong", seed=0),
        made_up("TT", agent="weak", split="train"),
        made_up("E", agent="weak", split="test"),
        made_up("TT", agent="weak", env_id="gtr/Another-v0"),
    ]
    rows = [(row.env_id, row.split, row.agent, row.seed) for row in measured_rows(results)]
    home = "gtr/Points24-v0"
    assert rows == [
        ("gtr/Another-v0", "all", "weak", 0),
        (home, "all", "strong", 0),
        (home, "all", "strong", 1),
        (home, "all", "weak", 0),
        (home, "all", "weak", 1),
        (home, "train", "weak", 0),
        (home, "test", "weak", 0),
    ]
    # As text: a row may hold NaN, which equals nothing.
    assert [repr(row) for row in measured_rows(results[::-1])] == [repr(row) for row in measured_rows(results)]


def test_reported_numbers_stand_apart_at_the_end(tmp_path: Path) -> None:
    rows = write_csv(tmp_path / "l.csv", [made_up("tt")])
    sources = [row.source for row in rows]
    assert sources == ["measured"] + ["reported"] * (len(rows) - 1)
    by_agent = {(row.agent, row.env_id): row for row in reported_rows()}
    turbo = by_agent["GTR-Turbo (KL)", "gym_cards/Points24-v0"]
    assert (turbo.success_rate, turbo.return_mean, turbo.reference) == (0.535, 2.39, "arXiv:2512.13043")
    assert by_agent["RL4VLM (plain PPO)", "gym_cards/Points24-v0"].return_mean == -13.3
    assert by_agent["GPT-4o zero-shot", "alfworld"].success_rate == 0.42
    assert [row.source for row in write_csv(tmp_path / "m.csv", [made_up("tt")], reported=False)] == ["measured"]


def test_the_shipped_numbers_are_in_the_schema_byte_for_byte() -> None:
    shipped = Path(__file__).parents[2] / "leaderboard" / "reported.csv"
    assert format_csv(reported_rows()) == shipped.read_text("utf-8")


def test_other_columns_are_refused() -> None:
    with pytest.raises(ResultError, match="other columns"):
        parse_csv("a,b\n1,2\n")
    with pytest.raises(ResultError, match="line 2"):
        parse_csv(format_csv(reported_rows()).replace("0.5350", "half"))


def test_the_same_results_give_the_same_bytes(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation(SolverPolicy())
    evaluation(SayingPolicy())
    texts = []
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path / name, find_results([tmp_path / "results"]))
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]
    assert (
        texts[0].splitlines()[1].startswith(b"1,expert,random,,gtr/Points24-v0,all,strict,0,6,6,1.0000,0.6097,1.0000")
    )


def test_a_folder_named_twice_counts_once(evaluation: Evaluate, tmp_path: Path) -> None:
    folder = evaluation().folder
    assert len(find_results([folder, tmp_path, tmp_path / "results"])) == 1


def test_two_results_of_one_agent_on_one_seed_are_refused(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation()
    evaluation(out_dir=tmp_path / "other")
    with pytest.raises(ResultError, match=r"both hold agent 'random'.*--name"):
        find_results([tmp_path])


def test_unfinished_evaluations_have_no_row() -> None:
    half = made_up("tt", agent="half")
    half = replace(half, meta=replace(half.meta, n_episodes=9))
    assert [row.agent for row in measured_rows([half, made_up("t")])] == ["a"]
    with pytest.raises(ResultError, match="none of these evaluations is finished"):
        measured_rows([half])


@pytest.mark.parametrize("content", ["nothing", "else"])
def test_folders_without_results(tmp_path: Path, content: str) -> None:
    if content == "else":
        (tmp_path / "meta.json").write_text('{"made by": "a training run"}')
    with pytest.raises(ResultError, match="holds no results; gtr-bench eval"):
        find_results([tmp_path])
    with pytest.raises(ResultError, match="no folder"):
        find_results([tmp_path / "missing"])


def test_trained_and_held_out_stand_side_by_side() -> None:
    (line,) = standings([made_up("TTtE")])
    assert (line.train, line.test) == (SuccessRate.of(made_up("TTt").episodes), SuccessRate.of(made_up("E").episodes))


def test_a_side_played_by_itself_is_not_pooled_with_the_mixed_hands() -> None:
    (line,) = standings([made_up("TTee"), made_up("Eeeee", split="test"), made_up("eE", split="test", seed=1)])
    assert line.train is not None
    assert line.test is not None
    assert line.overall is not None
    assert (line.train.n, line.test.successes, line.test.n, line.overall.n) == (2, 2, 7, 4)
    assert line.return_split == "all"


def test_the_return_names_its_hands_where_they_are_not_all() -> None:
    (line,) = standings([made_up("Ee", split="test"), made_up("TT", split="train")])
    assert (line.return_split, line.overall) == ("test+train", None)
    assert line.episode_return.value == pytest.approx((3 * 10 - 1) / 4)


def test_sampled_and_greedy_are_two_lines() -> None:
    lines = standings([made_up("TT", temperature=0.0), made_up("Tt", temperature=1.0, seed=1)])
    assert [line.temperature for line in lines] == [0.0, 1.0]


def test_a_rate_for_reading() -> None:
    assert percent(SuccessRate.of(made_up("TtEt").episodes)) == "50.0% of 4 [15.0, 85.0]"
    assert percent(None) == "–"


def test_the_printed_table_shows_every_figure() -> None:
    from rich.console import Console

    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(standings_table(standings([made_up("TtEt")])))
    text = console.export_text()
    for figure in ("33.3% of 3", "100.0% of 1", "50.0% of 4", "4.50", "[15.0, 85.0]", "trained", "held-out"):
        assert figure in text


def test_agents_are_compared_on_the_same_hands(evaluation: Evaluate) -> None:
    random = evaluation(SayingPolicy())
    expert = evaluation(SolverPolicy())
    comparison = compare(random, expert)
    assert (comparison.n, comparison.only_first, comparison.only_second) == (6, 0, 6)
    assert comparison.p_value == pytest.approx(2 / 2**6)
    other = evaluation(SolverPolicy(), seed=1, agent=AgentCard("expert", "expert", "expert"))
    with pytest.raises(ValueError, match="different hands"):
        compare(random, other)
