"""Watching an agent: what is shown is what an evaluation plays, and nothing in a model's text controls the terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gtr_envs.episode import Request, Response
from gtr_envs.errors import OutputExistsError
from gtr_envs.experts import SolverPolicy
from leaderboard.cli import main
from leaderboard.half_blocks import UPPER_HALF, half_blocks, has_pictures
from leaderboard.play import moments, watch

from .conftest import ALFWORLD, POINTS24, Evaluate, SayingPolicy


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=100)


def colourful_console() -> Console:
    options = {"force_terminal": True, "color_system": "truecolor", "no_color": False, "legacy_windows": False}
    return Console(file=io.StringIO(), width=100, _environ={}, **options)  # type: ignore[arg-type]


def test_it_plays_what_an_evaluation_plays(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy(), n_episodes=3, seed=5)
    episodes = watch(plain_console(), moments(SayingPolicy(), POINTS24, {}, 5, 3))
    for watched, recorded in zip(episodes, result.episodes, strict=True):
        assert watched.seed == recorded.seed
        assert [turn.text for turn in watched.turns] == [turn.text for turn in recorded.turns]
        assert watched.episode_return == recorded.episode_return


def test_each_turn_is_told() -> None:
    console = plain_console()
    waits: list[float] = []
    (episode,) = watch(console, moments(SolverPolicy(), POINTS24, {}, 0, 1), delay=0.5, sleep=waits.append)
    text = shown(console)
    assert waits == [0.5] * episode.steps
    for turn in episode.turns:
        assert f"{turn.index + 1:2d} action   {turn.action}   reward" in text
        assert turn.thoughts in text
    assert text.count("You are playing the 24 game") == 1  # later prompts only as far as they are new
    assert text.count("Formula so far:") == episode.steps
    assert "solved after" in text
    assert "so far 1 of 1 solved, mean return 10.00" in text
    assert UPPER_HALF not in text


def test_a_terminal_with_colours_shows_the_picture() -> None:
    console = colourful_console()
    assert has_pictures(console)
    assert not has_pictures(plain_console())
    watch(console, moments(SolverPolicy(), POINTS24, {}, 0, 1))
    assert UPPER_HALF in shown(console)
    silent = colourful_console()
    watch(silent, moments(SolverPolicy(), POINTS24, {}, 0, 1), pictures=False)
    assert UPPER_HALF not in shown(silent)


def test_a_half_block_is_two_pixels() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2, :2], frame[2:, :2], frame[:2, 2:] = (255, 0, 0), (0, 0, 255), (0, 255, 0)
    text = half_blocks(frame, columns=2)
    assert text.plain == UPPER_HALF * 2
    assert str(text.spans[0].style) == "#ff0000 on #0000ff"


@pytest.mark.parametrize("attack", ["[bold red]hi[/]", "[/nothing]", "\x1b[2J\x1b]0;title\x07", ":smile: \u202e"])
def test_a_models_text_does_nothing_to_the_terminal(attack: str) -> None:
    class Attacker(SayingPolicy):
        def act(self, requests: Sequence[Request]) -> list[Response]:
            return [Response(attack) for _ in requests] if self.calls else super().act(requests)

    for policy in (SayingPolicy(attack), Attacker()):
        console = colourful_console()
        watch(console, moments(policy, POINTS24, {}, 0, 1), pictures=False)
        text = shown(console)
        assert not re.search(r"\x1b(?!\[[\d;]*m)|\x07|\u202e", text)  # nothing but Rich's own colours
        if "\x1b" not in attack:
            assert attack.replace("\u202e", "\ufffd") in text


def test_frames_are_saved_and_never_written_over(tmp_path: Path) -> None:
    (episode,) = watch(plain_console(), moments(SolverPolicy(), POINTS24, {}, 0, 1), save=tmp_path / "frames")
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert len(names) == episode.steps + 1
    assert names[0] == "episode-000-end.png"
    assert Image.open(tmp_path / "frames" / "episode-000-turn-01.png").size == (300, 300)
    with pytest.raises(OutputExistsError, match="is there already"):
        watch(plain_console(), moments(SolverPolicy(), POINTS24, {}, 0, 1), save=tmp_path / "frames")


def test_an_episode_that_crashes_is_told_and_the_next_is_played(data_set: Path) -> None:
    from gtr_envs.experts import RandomPolicy

    console = plain_console()
    options = {"data": str(data_set), "split": "train"}
    episodes = watch(console, moments(RandomPolicy(), ALFWORLD, options, 0, 2))
    assert [episode.stop for episode in episodes] == ["crashed", "crashed"]
    assert "so far 0 of 2 solved" in shown(console)


def test_the_command_plays_and_records_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["play", "--agent", "expert", "--env", "gtr/NumberLine-v0", "--seed", "3", "-n", "2"]) == 0
    assert "so far 2 of 2 solved" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert main(["play", "--agent", "expert", "--option", "theme=night", "--save", "frames"]) == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) > 4
    capsys.readouterr()
    for arguments, message in (
        (["--agent", "nobody"], "unknown agent"),
        (["--agent", "expert", "--env", "gtr/Chess-v0"], "unknown environment"),
        (["--agent", "expert", "--option", "hints=1"], "no option 'hints'"),
        (["--agent", "expert", "--option", "theme=pink"], "theme='pink'"),
    ):
        assert main(["play", *arguments]) == 2
        assert message in capsys.readouterr().err
