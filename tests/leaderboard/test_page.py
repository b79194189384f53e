"""The page: what it shows, that it loads nothing, and that no text of a model becomes markup."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtr_envs.errors import ResultError
from gtr_envs.experts import RandomPolicy, SolverPolicy
from gtr_envs.protocol import write_answer
from gtr_envs.text_actions import make_text_env
from leaderboard.agents import AgentCard
from leaderboard.evaluate import evaluate
from leaderboard.page import MAX_TEXT, picture, readable, write_page
from leaderboard.replay import replay
from leaderboard.summary import Result

from .conftest import ALFWORLD, POINTS24, Evaluate, SayingPolicy


class Reader(HTMLParser):
    """Collects the page's tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(tmp_path: Path, results: list[Result], n_episodes: int = 1) -> str:
    write_page(tmp_path / "page.html", results, n_episodes)
    return (tmp_path / "page.html").read_text("utf-8")


def test_every_turn_of_the_first_episodes_is_shown(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(SolverPolicy())
    reader = Reader(page_of(tmp_path, [result], n_episodes=2))
    turns = [turn for episode in result.episodes[:2] for turn in episode.turns]
    assert reader.tags.count("img") == len(turns) + 2  # and the frame each episode ends with
    for turn in turns:
        assert turn.thoughts in reader.text
    assert "reward +10" in reader.text
    assert "100.0%" in reader.text
    assert "GTR-Turbo (KL)" in reader.text


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}{% raw %}",
        "</style><b>",
        "' onload='",
    ],
)
def test_a_models_text_never_becomes_markup(evaluation: Evaluate, tmp_path: Path, attack: str) -> None:
    plain = Reader(page_of(tmp_path, [evaluation(SayingPolicy("hm"))]))
    attacked = Reader(page_of(tmp_path, [evaluation(SayingPolicy(attack), out_dir=tmp_path / "attacked")]))
    assert attacked.tags == plain.tags
    assert {name for name, _ in attacked.attributes} == {name for name, _ in plain.attributes}
    assert attack in attacked.text


class Broken(SayingPolicy):
    """Answers that cannot be read, then an illegal number at best."""

    name = "broken"

    def act(self, requests: list) -> list:  # type: ignore[override, type-arg]
        from gtr_envs.episode import Response

        return [Response("<i>no json</i>" if len(r.info["formula"]) == 0 else "x {'action': '='}") for r in requests]


def test_an_unreadable_answer_is_shown_as_written(evaluation: Evaluate, tmp_path: Path) -> None:
    reader = Reader(page_of(tmp_path, [evaluation(Broken(), n_episodes=1)]))
    assert "<i>no json</i>" in reader.text
    assert "invalid answer" in reader.text
    assert "i" not in reader.tags[reader.tags.index("article") :]


def test_the_page_loads_nothing_from_outside(evaluation: Evaluate, tmp_path: Path) -> None:
    page = page_of(tmp_path, [evaluation(SolverPolicy()), evaluation()])
    reader = Reader(page)
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    for name, value in reader.attributes:
        assert name not in ("src", "href") or (value or "").startswith(("data:image/png;base64,", "#"))
    assert not re.search(r"url\(|@import|https?://", page)
    assert "default-src 'none'" in page


def test_the_same_results_give_the_same_page(evaluation: Evaluate, tmp_path: Path) -> None:
    results = [evaluation(SolverPolicy()), evaluation()]
    assert page_of(tmp_path, results) == page_of(tmp_path, results[::-1])


def test_links_point_at_something(evaluation: Evaluate, tmp_path: Path) -> None:
    reader = Reader(page_of(tmp_path, [evaluation(SolverPolicy()), evaluation()]))
    anchors = {value for name, value in reader.attributes if name == "id"}
    targets = {(value or "")[1:] for name, value in reader.attributes if name == "href"}
    assert targets <= anchors


def test_a_replay_shows_what_the_agent_saw(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    frames = replay(result.meta, episode)
    assert len(frames) == episode.steps + 1
    env = make_text_env(POINTS24)
    first, _ = env.reset(seed=episode.seed)
    assert np.array_equal(frames[0], first)
    second, *_ = env.step(episode.turns[0].text)
    assert np.array_equal(frames[1], second)
    assert not np.array_equal(frames[0], frames[1])


def test_a_replay_that_differs_is_an_error_and_a_remark_on_the_page(evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    turns = list(episode.turns)
    for changed, message in (
        (replace(episode, turns=(replace(turns[0], reward=3.0), *turns[1:])), "turn 1 gives reward 0, recorded was 3"),
        (replace(episode, turns=tuple(turns[:-1])), "does not end the episode"),
        (replace(episode, turns=(*turns, turns[-1])), "ends the episode"),
        (replace(episode, info={**episode.info, "cards": ["AH"]}), "recorded was"),
        (replace(episode, turns=(replace(turns[0], text=write_answer({"action": "="})), *turns[1:])), "turn 1"),
    ):
        with pytest.raises(ResultError, match=message):
            replay(result.meta, changed)
        notices: list[str] = []
        write_page(tmp_path / "p.html", [replace(result, episodes=(changed,))], notice=notices.append)
        assert "No pictures" in (tmp_path / "p.html").read_text("utf-8")
        assert len(notices) == 1


def test_pictures_are_pngs_of_the_same_size() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    data = picture(frame).removeprefix("data:image/png;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (image.format, image.size) == ("PNG", (40, 30))


def test_text_is_made_readable() -> None:
    assert readable("a\x00b\ud800c\x1b[31m\u202e") == "a\ufffdb\ufffdc\ufffd[31m\ufffd"
    assert readable("two\nlines") == "two\nlines"
    assert readable("x" * (MAX_TEXT + 5)).endswith("… (5 more characters)")


def test_both_sides_of_the_split_are_shown(evaluation: Evaluate, tmp_path: Path) -> None:
    results = [evaluation(SolverPolicy(), n_episodes=2, options={"split": split}) for split in ("all", "train", "test")]
    reader = Reader(page_of(tmp_path, results, n_episodes=1))
    assert "Held-out multisets" in reader.text
    assert "Trained multisets" in reader.text
    assert "All hands" not in reader.text
    assert len(re.findall(r"held-out multiset\b", reader.text)) == 1


def test_alfworlds_splits_are_shown_and_a_game_that_cannot_begin_is_explained(data_set: Path, tmp_path: Path) -> None:
    agent = AgentCard("random", "random", "random")
    results = [
        evaluate(
            RandomPolicy(),
            ALFWORLD,
            {"data": str(data_set), "split": split},
            agent=agent,
            seed=0,
            n_episodes=1,
            out_dir=tmp_path / "results",
        )
        for split in ("train", "valid_seen")
    ]
    notices: list[str] = []
    write_page(tmp_path / "page.html", results, 1, notices.append)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.index("<h4>valid_seen, strict data=alfworld</h4>") < page.index("<h4>train, strict data=alfworld</h4>")
    assert page.count("No pictures: ") == len(notices) == 2
    assert "nan" not in page.lower()
    assert "Success on valid_unseen" in page
    assert "Success on trained" not in page
