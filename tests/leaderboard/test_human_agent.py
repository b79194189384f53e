"""A person at the terminal: what is shown, what becomes of what is typed, and how to stop."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gtr_envs.episode import Request, Seat
from gtr_envs.errors import SettingError
from gtr_envs.protocol import AnswerStatus
from gtr_envs.text_actions import make_text_env
from leaderboard.agents import describe_agent, load_agent
from leaderboard.evaluate import evaluate
from leaderboard.human_agent import HumanPolicy
from leaderboard.records import read_episodes

Say = Callable[..., HumanPolicy]


@pytest.fixture
def person(tmp_path: Path) -> Say:
    """A person who types given lines, at a terminal that keeps what it shows."""

    def person(lines: Iterable[str], console: Console | None = None) -> HumanPolicy:
        typed = iter(lines)

        def read(words: str) -> str:
            try:
                return next(typed)
            except StopIteration:
                raise EOFError from None

        return HumanPolicy(read, console or screen(), tmp_path)

    return person


def screen(terminal: bool = False) -> Console:
    """A terminal to look at."""
    colours = "truecolor" if terminal else None
    return Console(file=io.StringIO(), force_terminal=terminal, color_system=colours, no_color=False, width=100)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def question() -> Request:
    seat = Seat(make_text_env("gtr/Points24-v0"))
    seat.start(10_000_000_000)
    return seat.request()


def test_what_is_typed_becomes_an_answer_in_form(person: Say, question: Request) -> None:
    console = screen()
    [response] = person(['I see "aces" [bold]', "("], console).act([question])
    answer = question.task.read(response.text, question.info)
    assert (answer.status, answer.action, answer.thoughts) == (AnswerStatus.STRICT, "(", 'I see "aces" [bold]')
    assert list(json.loads(response.text)) == list(question.task.keys)
    assert question.prompt in shown(console)


def test_the_picture_is_a_file_and_the_terminal_says_where(person: Say, question: Request, tmp_path: Path) -> None:
    console = screen()
    person(["", "1"], console).act([question])
    assert str(tmp_path / "frame.png") in shown(console)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "frame.png")), question.frame)
    assert "▀" not in shown(console)


def test_an_action_that_does_not_exist_is_asked_for_again(person: Say, question: Request) -> None:
    console = screen()
    [response] = person(["", "", "?", "stand", "1 ", "2"], console).act([question])
    assert question.task.read(response.text, question.info).action == "1"
    assert "'stand' is no action here" in shown(console)
    assert f"actions: {', '.join(question.task.actions)}" in shown(console)


def test_the_words_are_shown_when_they_change(person: Say, question: Request) -> None:
    console = screen()
    person(["", "1", "", "2"], console).act([question, question])
    assert shown(console).count(question.prompt) == 1
    assert shown(console).count("picture: ") == 2


@pytest.mark.parametrize("last", [["quit"], ["a thought", "quit"], []])
def test_a_person_who_stops_loses_no_finished_episode(person: Say, last: list[str], tmp_path: Path) -> None:
    def play(lines: list[str], n_episodes: int) -> None:
        policy = person(lines)
        card = describe_agent("human", policy)
        assert (card.name, card.method, card.temperature, card.fingerprint) == ("human", "human", None, None)
        out = {"n_episodes": n_episodes, "out_dir": tmp_path / "results"}
        evaluate(policy, "gtr/Blackjack-v0", {}, agent=card, seed=0, **out)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        play(["", "stick", "", "stick", *last], 3)
    folder = next((tmp_path / "results").rglob("episodes.jsonl")).parent
    assert [episode.steps for episode in read_episodes(folder)[0]] == [1, 1]
    play(["", "stick"], 3)
    assert len(read_episodes(folder)[0]) == 3


def test_without_a_terminal_nobody_can_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    with pytest.raises(SettingError, match="run the command in a terminal"):
        load_agent("human")


def test_its_temporary_folder_goes_with_it(question: Request) -> None:
    policy = HumanPolicy(lambda words: "1", screen())
    policy.act([question])
    assert policy.picture.is_file()
    policy.close()
    assert not policy.picture.parent.exists()


def test_the_picture_is_drawn_where_there_are_colours(person: Say, question: Request) -> None:
    colours, plain = screen(True), screen()
    for console in (colours, plain):
        person(["", "1"], console).act([question])
    assert "▀" in shown(colours)
    assert "\x1b" not in shown(plain), "what is no terminal gets no picture"
