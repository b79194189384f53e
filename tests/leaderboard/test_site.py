"""The site: what its pages show, that they load nothing, and that no text of a model becomes markup."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtr_envs.episode import Episode, Response, StopReason
from gtr_envs.errors import OutputExistsError, ResultError
from gtr_envs.experts import RandomPolicy, SolverPolicy
from leaderboard.agents import AgentCard
from leaderboard.cli import main
from leaderboard.evaluate import evaluate
from leaderboard.failures import Failure, count_failures, failure_of
from leaderboard.pictures import Pictures
from leaderboard.records import episode_from_line, episode_to_line
from leaderboard.site import write_site
from leaderboard.site.curves import find_runs, learning_curves, read_metrics
from leaderboard.site.drawing import RATE, axis_for, mark, polylines
from leaderboard.site.files import CONTENTS, page_names
from leaderboard.site.samples import choose
from leaderboard.stats import Interval
from leaderboard.summary import Result, find_results
from leaderboard.texts import MAX_TEXT, card_name, readable

from .conftest import ALFWORLD, Evaluate, SayingPolicy
from .test_table import in_rooms, made_up


class Reader(HTMLParser):
    """Collects a page's tags, attributes and text, scripts and styles left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style"):
            self.text += data

    def values(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [value or "" for key, value in self.attributes if key == name]


def site_of(tmp_path: Path, results: list[Result], **options: object) -> Path:
    folder = tmp_path / "site"
    write_site(folder, results, **options)  # type: ignore[arg-type]
    return folder


def read(path: Path) -> Reader:
    return Reader(path.read_text("utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_run(folder: Path, records: int = 4) -> Path:
    """A training run's folder as far as curves go."""
    folder.mkdir(parents=True)
    lines = [{"step": n + 1, "success": n / 10, "return": n - 2.0, "teacher_kl": 0.01 * n} for n in range(records)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_the_first_page_shows_every_line_with_its_interval(tmp_path: Path) -> None:
    results = [made_up("TtEt"), made_up("TTTT", agent="b"), made_up("tttt", seed=1), in_rooms("TTt")]
    page = read(site_of(tmp_path, results) / "index.html")
    for part in ("25.0%", "7.1 to 59.1", "100.0%", "66.7%", "seeds 0, 1", "gtr/ALFWorld-v0", "strict data=generated"):
        assert part in page.text, part  # 7.1 to 59.1: Wilson's interval of 2 of 8
    assert page.tags.count("table") == 2  # measured and reported apart
    assert "GTR-Turbo (KL)" in page.text
    assert page.text.index("Reported by papers, not measured here") > page.text.index("66.7%")
    assert {"agents/a.html", "agents/b.html", "leaderboard.csv"} <= set(page.values("href"))


def test_reported_numbers_can_be_left_out(tmp_path: Path) -> None:
    folder = site_of(tmp_path, [made_up("T")], reported=False)
    assert "2512.13043" not in (folder / "index.html").read_text()
    assert "reported" not in (folder / "leaderboard.csv").read_text()


def test_an_agents_page_shows_each_seed_and_every_turn_of_its_samples(evaluation: Evaluate, tmp_path: Path) -> None:
    results = [evaluation(SolverPolicy(), seed=seed) for seed in (0, 1)]
    folder = site_of(tmp_path, results, episodes_per_agent=2)
    page = read(folder / "agents" / "expert.html")
    turns = [turn for episode in results[0].episodes[:2] for turn in episode.turns]
    assert page.tags.count("img") == len(turns) + 2  # and the frame each episode ends with
    for turn in turns:
        assert turn.thoughts in page.text
    for part in ("seeds 0, 1", "seed 1", "middle half (IQM)", "solved", "reward +10"):
        assert part in page.text
    frames = [folder / "agents" / source for source in page.values("src")]
    assert all(Image.open(path).size == (300, 300) for path in frames)


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "</style><b>",
    "' onload='",
    "</script><svg/onload=alert(1)>",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_models_text_never_becomes_markup(evaluation: Evaluate, tmp_path: Path, attack: str) -> None:
    pages = {}
    for name, thought in (("plain", "hm"), ("attacked", attack)):
        result = evaluation(SayingPolicy(thought), n_episodes=2, out_dir=tmp_path / name)
        pages[name] = read(site_of(tmp_path / name, [result], replays=False) / "agents" / "saying.html")
    assert pages["attacked"].tags == pages["plain"].tags
    assert {name for name, _ in pages["attacked"].attributes} == {name for name, _ in pages["plain"].attributes}
    assert attack in pages["attacked"].text


def test_settings_of_a_foreign_result_never_become_markup_or_paths(tmp_path: Path) -> None:
    attack = '../../<script>"x'
    result = made_up("Tt", agent=attack, method=attack, base_model=attack, split=attack, rules=attack, version=attack)
    folder = site_of(tmp_path, [result])
    (name,) = [path.name for path in (folder / "agents").iterdir()]
    assert re.fullmatch(r"script-x-[0-9a-f]{8}\.html", name)
    for page in (folder / "index.html", folder / "agents" / name):
        assert attack in read(page).text
        assert read(page).tags.count("script") <= 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


def test_names_that_file_systems_confuse_get_pages_of_their_own() -> None:
    pages = page_names(["a", "A", "b", "..", "", "x/y", "x-y", "long" * 60])
    assert pages["b"] == "b.html"
    assert len({name.lower() for name in pages.values()}) == len(pages)
    assert all(re.fullmatch(r"[A-Za-z0-9._+@-]{1,100}\.html", name) for name in pages.values())


class Broken(SayingPolicy):
    """Answers that cannot be read, then an illegal number at best."""

    name = "broken"

    def act(self, requests: list) -> list:  # type: ignore[override, type-arg]
        return [Response("<i>no json</i>" if len(r.info["formula"]) == 0 else "x {'action': '='}") for r in requests]


def test_an_unreadable_answer_is_shown_as_written_and_counted(evaluation: Evaluate, tmp_path: Path) -> None:
    page = read(site_of(tmp_path, [evaluation(Broken(), n_episodes=1)]) / "agents" / "broken.html")
    assert "<i>no json</i>" in page.text
    assert "invalid answer" in page.text
    assert "answers could not be read" in page.text
    assert "i" not in page.tags


@pytest.mark.parametrize("replays", [False, True])
def test_the_pages_load_nothing_from_outside(evaluation: Evaluate, tmp_path: Path, replays: bool) -> None:
    folder = site_of(tmp_path, [evaluation(SolverPolicy()), evaluation()], replays=replays)
    pages = [path for path in folder.rglob("*.html") if path.parent.name != "replays"]
    assert (len(pages), len(list(folder.glob("replays/*.html")))) == (3, 8 if replays else 0)
    for path in pages:
        page = read(path)
        for name in ("src", "href"):
            for target in page.values(name):
                inside = (path.parent / target).resolve()
                assert target.startswith(("#", "data:,")) or inside.is_file(), target
                assert target.startswith("#") or not inside.exists() or inside.is_relative_to(folder.resolve())
        assert not re.search(r"url\((?!#p-)|@import|https?://", path.read_text("utf-8"))
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        (policy,) = [value for value in page.values("content") if "default-src" in value]
        assert policy.startswith("default-src 'none';")
        assert "script-src 'sha256-" in policy
        anchors = set(page.values("id"))
        assert {target[1:] for target in page.values("href") if target.startswith("#")} <= anchors
        assert set(page.values("aria-labelledby")) <= anchors


def test_the_same_results_give_the_same_bytes(evaluation: Evaluate, tmp_path: Path) -> None:
    evaluation(SolverPolicy(), n_episodes=2)
    for seed in (0, 1):
        evaluation(SayingPolicy(), n_episodes=2, seed=seed)
    write_run(tmp_path / "runs" / "saying")
    made = []
    for name in ("one", "two"):
        options = ["--csv", str(tmp_path / name / "l.csv"), "--html", str(tmp_path / name / "site"), "--replays"]
        assert main(["leaderboard", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), *options]) == 0
        made.append(contents(tmp_path / name))
    assert made[0] == made[1]
    assert made[0]["l.csv"] == made[0]["site/leaderboard.csv"]
    backwards = find_results([tmp_path / "results"])[::-1]
    site_of(tmp_path, backwards, runs=[tmp_path / "runs"], replays=True)
    assert contents(tmp_path / "site") == {
        name.removeprefix("site/"): content for name, content in made[0].items() if name.startswith("site/")
    }


def test_a_folder_is_renewed_and_what_others_put_there_stays(tmp_path: Path) -> None:
    folder = site_of(tmp_path, [made_up("T"), made_up("T", agent="b")])
    (folder / "notes.txt").write_text("mine")
    listed = json.loads((folder / CONTENTS).read_text())
    listed["files"].append("../precious")
    (folder / CONTENTS).write_text(json.dumps(listed))
    (tmp_path / "precious").write_text("stays")
    write_site(folder, [made_up("T")])
    assert not (folder / "agents" / "b.html").exists()
    assert (folder / "notes.txt").read_text() == "mine"
    assert (tmp_path / "precious").read_text() == "stays"
    (folder / "notes.txt").unlink()
    assert contents(folder) == contents(site_of(tmp_path / "fresh", [made_up("T")]))


@pytest.mark.parametrize("content", ["notes.txt", CONTENTS, "results/meta.json"])
def test_a_folder_with_something_else_is_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "site" / content
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(OutputExistsError, match="holds something else"):
        site_of(tmp_path, [made_up("T")])
    assert contents(tmp_path / "site") == {content: b"{}"}
    with pytest.raises(OutputExistsError, match="is a file"):
        write_site(path, [made_up("T")])


def test_a_replay_that_differs_is_a_remark_and_not_a_picture(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    turns = (replace(episode.turns[0], reward=3.0), *episode.turns[1:])
    notices: list[str] = []
    changed = replace(result, episodes=(replace(episode, turns=turns),))
    folder = site_of(tmp_path, [changed], notice=notices.append)
    page = read(folder / "agents" / "expert.html")
    assert "No pictures" in page.text
    assert "img" not in page.tags
    assert len(notices) == 1


def test_games_that_cannot_begin_are_explained(data_set: Path, tmp_path: Path) -> None:
    agent = AgentCard("random", "random", "random")
    common = {"agent": agent, "seed": 0, "n_episodes": 1, "out_dir": tmp_path / "results"}
    results = [
        evaluate(RandomPolicy(), ALFWORLD, {"data": str(data_set), "split": split}, **common)  # type: ignore[arg-type]
        for split in ("train", "valid_seen")
    ]
    notices: list[str] = []
    folder = site_of(tmp_path, results, notice=notices.append)
    page = read(folder / "agents" / "random.html")
    assert page.text.index("valid_seen") < page.text.index("train")
    assert page.text.count("No pictures: ") == len(notices) == 2
    assert "crashed" in page.text
    assert not re.search(r"\bnan\b", page.text + read(folder / "index.html").text, re.IGNORECASE)


def test_alfworlds_task_types_have_a_table(tmp_path: Path) -> None:
    page = read(site_of(tmp_path, [in_rooms("TTt")]) / "agents" / "a.html")
    assert "pick_and_place_simple" in page.text
    assert "Success by task" in page.text


def test_unfinished_results_have_no_line(tmp_path: Path) -> None:
    half = made_up("tt", agent="half")
    half = replace(half, meta=replace(half.meta, n_episodes=9))
    folder = site_of(tmp_path, [half, made_up("T")])
    assert [path.name for path in (folder / "agents").iterdir()] == ["a.html"]
    with pytest.raises(ResultError, match="none of these evaluations is finished"):
        write_site(tmp_path / "none", [half])
    assert not (tmp_path / "none").exists()


# How episodes fail.


def failed(**changes: object) -> Episode:
    (episode,) = made_up("t").episodes
    turns = tuple(replace(episode.turns[0], index=n) for n in range(4))
    return replace(episode, **{"turns": turns, **changes})  # type: ignore[arg-type]


def with_last(**changes: object) -> Episode:
    episode = failed()
    return replace(episode, turns=(*episode.turns[:-1], replace(episode.turns[-1], **changes)))  # type: ignore[arg-type]


def unreadable(count: int, stop: StopReason) -> Episode:
    line = json.loads(episode_to_line(failed(stop=stop)))
    for turn in line["turns"][:count]:
        turn["status"] = "invalid"
    return episode_from_line(json.dumps({**line, "invalid": count}))


@pytest.mark.parametrize(
    ("episode", "kind"),
    [
        (made_up("T").episodes[0], None),
        (failed(), Failure.WRONG),
        (with_last(illegal=True), Failure.ILLEGAL),
        (failed(stop=StopReason.TRUNCATED), Failure.CUT_OFF),
        (unreadable(2, StopReason.TRUNCATED), Failure.INVALID),
        (unreadable(1, StopReason.TRUNCATED), Failure.CUT_OFF),
        (unreadable(4, StopReason.TERMINATED), Failure.INVALID),
        (failed(info={"solvable": False}), Failure.UNSOLVABLE),
        (failed(stop=StopReason.CRASHED, turns=(), info={}), Failure.CRASHED),
    ],
)
def test_each_failure_has_one_kind(episode: Episode, kind: Failure | None) -> None:
    assert failure_of(episode) is kind
    assert sum(count_failures([episode]).values()) == (kind is not None)


def test_samples_are_the_first_of_either_kind() -> None:
    def seeds(outcomes: str, count: int) -> list[int]:
        return [episode.seed for episode in choose(made_up(outcomes).episodes, count)]

    assert seeds("ttttTTTT", 4) == [0, 1, 4, 5]
    assert seeds("tttttT", 4) == [0, 1, 2, 5]
    assert seeds("TTTTTt", 4) == [0, 1, 2, 5]
    assert seeds("TTT", 2) == [0, 1]
    assert seeds("t", 4) == [0]
    assert seeds("Tt", 0) == []


# Drawing.


def test_axes_end_at_round_numbers_around_all_values() -> None:
    assert axis_for([-3.2, 9.9]).ticks == (-5.0, 0.0, 5.0, 10.0)
    assert axis_for([0.001, 0.004]).low <= 0.001
    for values in ([], [math.nan], [7.0], [0.0, 0.0], [-1e6, 1e6]):
        axis = axis_for(values)
        assert axis.low < axis.high
        assert all(axis.low <= value <= axis.high for value in values if math.isfinite(value))


def test_marks_stand_at_their_values() -> None:
    placed = mark(Interval(0.5, 0.25, 0.75), RATE)
    assert placed is not None
    assert (placed.low, placed.value, placed.high) == ("25.00", "50.00", "75.00")
    assert mark(Interval(math.nan, math.nan, math.nan), RATE) is None
    alone = mark(Interval(1.0, math.nan, math.nan), RATE)
    assert alone is not None
    assert (alone.low, alone.value) == (None, "100.00")


def test_a_curve_breaks_where_nothing_is_known() -> None:
    across = axis_for([0.0, 4.0])
    lines = polylines([0, 1, 2, 3, 4], [0.0, 1.0, math.nan, 0.5, 0.5], across, RATE)
    assert lines == ("0.00,100.00 25.00,0.00", "75.00,50.00 100.00,50.00")


def test_curves_come_from_the_run_of_the_agents_name(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    write_run(tmp_path / "runs" / "elsewhere" / "other")
    folder = site_of(tmp_path, [made_up("T"), made_up("t", agent="b")], runs=[tmp_path / "runs"])
    page = read(folder / "agents" / "a.html")
    assert page.tags.count("polyline") == 3
    assert "0.0% at first, 30.0% at last, highest 30.0% at step 4" in page.text
    assert "polyline" not in read(folder / "agents" / "b.html").tags


def test_damaged_metrics_are_left_out_with_a_word(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("{oops\n[1]\n" + text + '{"step": 2, "success": 0.9}\n{"step": 5, "succ')
    notices: list[str] = []
    records = read_metrics(run, notices.append)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert records[1] == {"step": 2, "success": 0.9}  # done again
    assert "2 lines are no records" in notices[0]
    success, mean, _ = learning_curves(run, notices.append)
    assert (len(mean.lines), len(success.lines)) == (2, 1)
    (run / "metrics.jsonl").write_text("")
    assert learning_curves(run, notices.append) == []


def test_folders_of_runs_are_searched(tmp_path: Path) -> None:
    notices: list[str] = []
    write_run(tmp_path / "x" / "a")
    write_run(tmp_path / "y" / "a")
    assert find_runs([tmp_path / "x" / "a"], notices.append) == {"a": tmp_path / "x" / "a"}
    assert notices == []
    assert find_runs([tmp_path], notices.append) == {"a": tmp_path / "x" / "a"}
    assert "both called 'a'" in notices[0]
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "holds no training run"), (tmp_path / "missing", "no folder")):
        with pytest.raises(ResultError, match=message):
            find_runs([path], notices.append)


# Texts and pictures.


def test_equal_frames_are_one_file() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    pictures = Pictures()
    names = {pictures.add(frame), pictures.add(frame.copy()), pictures.add(frame.transpose(1, 0, 2))}
    assert len(names) == len(pictures.files) == 2


def test_text_is_made_readable() -> None:
    assert readable("a\x00b\ud800c\x1b[31m\u202e") == "a\ufffdb\ufffdc\ufffd[31m\ufffd"
    assert readable("two\nlines") == "two\nlines"
    assert readable("x" * (MAX_TEXT + 5)).endswith("… (5 more characters)")
    assert (card_name("10H"), card_name("KS")) == (("10♥", True), ("K♠", False))


def test_the_command_says_what_it_wrote_and_refuses_a_foreign_folder(
    evaluation: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation()
    results, site = str(tmp_path / "results"), tmp_path / "site"
    assert main(["leaderboard", results, "--html", str(site), "--episodes-per-agent", "0"]) == 0
    assert f"wrote {site / 'index.html'}" in capsys.readouterr().out
    assert not (site / "frames").exists()
    for arguments, message in (
        (["--html", results], "holds something else"),
        (["--html", str(site), "--runs", str(tmp_path / "nothing")], "no folder"),
        (["--html", str(site), "--episodes-per-agent", "-1"], "episodes-per-agent"),
    ):
        before = contents(tmp_path)
        assert main(["leaderboard", results, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert contents(tmp_path) == before
