"""The leaderboard's CSV and the standings: schema, order, bytes, and that nothing is mixed that must not be."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from gtr_envs.episode import Episode, StopReason, Turn
from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import AnswerStatus
from leaderboard.records import RunMeta
from leaderboard.standings import percent, result_lines, standings, standings_tables
from leaderboard.summary import Result, SuccessRate, find_results, summarise
from leaderboard.table import (
    COLUMNS,
    DTYPES,
    format_csv,
    measured_rows,
    parse_csv,
    read_csv,
    reported_rows,
    write_csv,
)

from .conftest import ALFWORLD, Evaluate, SayingPolicy

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


def test_pandas_reads_each_column_with_its_documented_type(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    write_csv(path, [made_up("TtEe", agent="None", temperature=1.0), made_up("T", seed=3)])
    table = read_csv(path)
    assert {name: str(kind) for name, kind in table.dtypes.items()} == DTYPES
    assert list(DTYPES) == list(COLUMNS)
    documented = (Path(__file__).resolve().parents[2] / "docs" / "leaderboard.md").read_text("utf-8")
    for name, kind in DTYPES.items():
        assert re.search(rf"^\| [^|]*`{name}`[^|]*\| {kind} \|", documented, re.MULTILINE), name
    measured = table[table.source == "measured"]
    assert set(measured.agent) == {"a", "None"}
    assert (int(measured.n_episodes.sum()), measured.seed.max()) == (5, 3)
    assert table[table.source == "reported"].seed.isna().all()
    path.write_text("agent,score\nme,100\n")
    with pytest.raises(ResultError, match="other columns than schema 1"):
        read_csv(path)
    with pytest.raises(ResultError, match="cannot be read"):
        read_csv(tmp_path / "missing.csv")


# Success in percent, and for Points24 the episode return, as arXiv:2512.13043 has them.
PUBLISHED = {
    ("gym_cards/Points24-v0", "GPT-4o zero-shot"): (2.5, -6.35),
    ("gym_cards/Points24-v0", "Qwen2.5-VL-72B zero-shot"): (5.6, -5.69),
    ("gym_cards/Points24-v0", "Qwen2.5-VL-7B after SFT"): (22.0, -3.2),
    ("gym_cards/Points24-v0", "RL4VLM (plain PPO)"): (3.5, -13.3),
    ("gym_cards/Points24-v0", "GTR (GPT-4o teacher)"): (44.5, 0.53),
    ("gym_cards/Points24-v0", "GTR-Turbo (SFT)"): (48.0, 1.32),
    ("gym_cards/Points24-v0", "GTR-Turbo (KL)"): (53.5, 2.39),
    ("alfworld", "RL4VLM (plain PPO)"): (8.0, None),
    ("alfworld", "GTR (GPT-4o teacher)"): (16.0, None),
    ("alfworld", "GTR-Turbo (KL)"): (15.0, None),
    ("alfworld", "GPT-4o zero-shot"): (42.0, None),
    ("alfworld", "Qwen2.5-VL-72B zero-shot"): (32.0, None),
}


def test_every_published_number_is_there_with_its_source() -> None:
    rows = {(row.env_id, row.agent): row for row in reported_rows()}
    assert set(rows) == set(PUBLISHED)
    for key, (success, episode_return) in PUBLISHED.items():
        assert rows[key].success_rate == pytest.approx(success / 100)
        assert rows[key].return_mean == episode_return
        assert (rows[key].source, rows[key].reference) == ("reported", "arXiv:2512.13043")
        assert rows[key].success_lo is rows[key].n_episodes is rows[key].version is None


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
    assert [row.source for row in write_csv(tmp_path / "m.csv", [made_up("tt")], reported=False)] == ["measured"]


def test_the_shipped_numbers_are_in_the_schema_byte_for_byte() -> None:
    shipped = Path(__file__).parents[2] / "leaderboard" / "reported.csv"
    assert format_csv(reported_rows()) == shipped.read_text("utf-8")


def test_other_columns_are_refused() -> None:
    with pytest.raises(ResultError, match="other columns"):
        parse_csv("a,b\n1,2\n")
    with pytest.raises(ResultError, match="line 2"):
        parse_csv(format_csv(reported_rows()).replace("0.5350", "half"))


def test_a_row_of_results_that_are_read_back(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation(SolverPolicy())
    evaluation(SayingPolicy())
    write_csv(tmp_path / "l.csv", find_results([tmp_path / "results"]))
    row = (tmp_path / "l.csv").read_bytes().splitlines()[1]
    assert row.startswith(b"1,expert,random,,gtr/Points24-v0,all,strict,0,6,6,1.0000,0.6097,1.0000")


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
    sides = (made_up("TTt").episodes, made_up("E").episodes)
    assert (line.rates["train"], line.rates["test"]) == tuple(map(SuccessRate.of, sides))


def test_a_side_played_by_itself_is_not_pooled_with_the_mixed_hands() -> None:
    (line,) = standings([made_up("TTee"), made_up("Eeeee", split="test"), made_up("eE", split="test", seed=1)])
    train, test, overall = (line.rates[split] for split in ("train", "test", "all"))
    assert (train.n, test.successes, test.n, overall.n) == (2, 2, 7, 4)
    assert line.return_split == "all"


def test_the_return_names_its_hands_where_they_are_not_all() -> None:
    (line,) = standings([made_up("Ee", split="test"), made_up("TT", split="train")])
    assert line.return_split == "test+train"
    assert "all" not in line.rates
    assert line.episode_return.value == pytest.approx((3 * 10 - 1) / 4)


def test_sampled_and_greedy_are_two_lines() -> None:
    lines = standings([made_up("TT", temperature=0.0), made_up("Tt", temperature=1.0, seed=1)])
    assert [line.meta.temperature for line in lines] == [0.0, 1.0]


def test_a_rate_for_reading() -> None:
    assert percent(SuccessRate.of(made_up("TtEt").episodes)) == "50.0% of 4 [15.0, 85.0]"
    assert percent(None) == "–"


def printed(*results: Result, width: int = 80) -> str:
    """The leaderboard's tables as a terminal shows them, without the spaces at the ends of lines."""
    from rich.console import Console

    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(*standings_tables(standings(results)), sep="\n")
    return "\n".join(line.rstrip() for line in console.export_text().splitlines())


POINTS24_TABLE = """
             success,       success,       success,
 agent        trained       held-out      all hands          return
 ──────────────────────────────────────────────────────────────────
 b        100.0% of 2              –    100.0% of 2           10.00
        [34.2, 100.0]                 [34.2, 100.0]  [10.00, 10.00]

 a         33.3% of 3    100.0% of 1     50.0% of 4            4.50
          [6.1, 79.2]  [20.7, 100.0]   [15.0, 85.0]  [-1.00, 10.00]

   [ ]: 95% intervals, Wilson's for success, bootstrap for return
 trained, held-out: multisets of card values that training may use,
                             never uses
"""


def test_the_table_of_points24_is_as_it_always_was() -> None:
    text = printed(made_up("TtEt"), made_up("TT", agent="b"))
    assert text + "\n" == POINTS24_TABLE


def in_rooms(outcomes: str, **changes: object) -> Result:
    """An evaluation in ALFWorld of one task type; a small letter is a failure."""
    usual = {"env_id": ALFWORLD, "rules": "strict data=generated", "split": "valid_unseen"}
    made = made_up(outcomes, **{**usual, **changes})
    info = {"task_type": "pick_and_place_simple"}
    episodes = tuple(replace(episode, info=info) for episode in made.episodes)
    return replace(made, episodes=episodes, summary=summarise(episodes))


def test_alfworlds_own_splits_stand_side_by_side() -> None:
    results = [in_rooms("TTTt"), in_rooms("TT", split="valid_seen"), in_rooms("Ttt", split="train")]
    text = printed(*results, in_rooms("TTTT", agent="best"))
    lines = [line for line in text.splitlines()[1:] if line.strip() and "─" not in line]
    names = next(line for line in lines if line.startswith(" agent"))
    best, first = (next(line for line in lines if line.startswith(f" {agent} ")) for agent in ("best", "a"))
    assert names.split() == ["agent", "valid_seen", "valid_unseen", "train", "return"]
    assert lines.index(best) < lines.index(first)
    assert best.split() == ["best", "–", "100.0%", "of", "4", "–", "10.00"]
    assert first.split()[:10] == ["a", "100.0%", "of", "2", "75.0%", "of", "4", "33.3%", "of", "3"]


def test_each_environment_has_a_table_of_its_own_with_its_own_words() -> None:
    text = printed(in_rooms("TT"), made_up("TE"), made_up("T", env_id="gtr/Blackjack-v0"))
    rooms, other = text.split("gtr/Blackjack-v0")
    blackjack, cards = other.split("gtr/Points24-v0")
    assert rooms.strip().startswith("gtr/ALFWorld-v0, strict data=generated rules")
    assert "multisets" not in rooms
    assert "rooms that training never uses" in " ".join(rooms.split())
    assert "success" in blackjack
    assert "trained" not in blackjack
    assert "multisets of card values" in cards


def test_a_split_that_is_not_expected_is_shown_all_the_same() -> None:
    assert "odd" in printed(in_rooms("TT", split="odd"))


def test_a_summary_shows_each_task_type_and_no_cards() -> None:
    episodes = in_rooms("TTt").episodes
    crash = Episode(9, (), StopReason.CRASHED, False, {}, "RuntimeError: engine died\nand more")
    look = replace(episodes[0], seed=8, info={"task_type": "look_at_obj_in_light"})
    summary = summarise([*episodes, crash, look])
    lines = dict(result_lines(replace(in_rooms("T"), summary=summary)))
    assert lines["on pick_and_place_simple"] == "66.7% of 3 [20.8, 93.9]"
    assert lines["on look_at_obj_in_light"] == "100.0% of 1 [20.7, 100.0]"
    assert lines["on unknown"] == "0.0% of 1 [0.0, 79.3]"
    assert lines["first crash"] == "RuntimeError: engine died"
    assert not any("multiset" in name for name in lines)
    assert summarise(made_up("TE").episodes).success_by_task == {}


def test_what_is_not_known_is_a_dash() -> None:
    crash = Episode(9, (), StopReason.CRASHED, False, {}, "RuntimeError: engine died")
    for episodes in ([crash], []):
        lines = dict(result_lines(replace(in_rooms("T"), summary=summarise(episodes))))
        assert (lines["illegal actions"], lines["answers"]) == ("–", "– invalid, – repaired")
        assert not any("nan" in figure for figure in lines.values())
