"""A replay's page: what it shows of an episode, that a model's text stays text, and that it works in a browser."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gtr_envs.episode import Request, Response
from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import write_answer
from leaderboard.cli import main
from leaderboard.replay import replay_episode
from leaderboard.replay_page import gather, render_replay, write_replay
from leaderboard.replay_tokens import shade_of, turn_tokens
from leaderboard.scores import EpisodeScores, TurnScores, write_sorted
from leaderboard.summary import Result

from .browser import OpenedPage
from .conftest import Evaluate, SayingPolicy

BrowserPage = Callable[..., OpenedPage]
ATTACKS = (
    "<script>document.title = 'taken'; alert(1)</script>",
    "</script><script>document.title = 'taken'</script>",
    "</pre></p></li></main><img src=x onerror=\"document.title = 'taken'\">",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202e\x1b[31mred",
)


class Attacker:
    """Answers in form once with each attack, in its thought and as an unreadable answer."""

    name = "attacker"

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self._answer(len(request.info["formula"]), request)) for request in requests]

    @staticmethod
    def _answer(place: int, request: Request) -> str:
        fields = {"cards": [], "formula": "", "thoughts": " ".join(ATTACKS), "action": "+"}
        return write_answer(fields) if place == 0 else ATTACKS[place % len(ATTACKS)]


def page_of(tmp_path: Path, result: Result, number: int = 0) -> Path:
    path = tmp_path / "replay.html"
    write_replay(path, gather(result.folder, result.meta, result.episodes[number], number))
    return path


def add_scores(result: Result, teacher: bool = True) -> None:
    """Made-up scores, a token a word: likely ones, an unlikely one that the teacher likes, one that it does not."""
    scores = {}
    for episode in result.episodes:
        turns = []
        for turn in episode.turns:
            pieces = tuple(re.findall(r"\S+\s*|\s+", turn.text))
            own = [math.log(0.95)] * len(pieces)
            given = list(own)
            own[1], given[1] = math.log(0.005), math.log(0.6)
            own[2], given[2] = math.log(0.3), math.log(0.01)
            turns.append(TurnScores(pieces, tuple(own), tuple(given) if teacher else None))
        scores[episode.seed] = EpisodeScores(episode.seed, tuple(turns), "teacher" if teacher else None)
    write_sorted(result.folder, scores)


def test_an_episode_played_again_has_its_prompts_and_frames(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    again = replay_episode(result.meta, episode)
    assert [turn.text for turn in again.episode.turns] == [turn.text for turn in episode.turns]
    assert all("Formula so far:" in turn.prompt and turn.frame is not None for turn in again.episode.turns)
    assert again.episode.turns[0].prompt.endswith("none")
    assert again.last_frame.shape == (300, 300, 3)


def test_an_episode_that_was_recorded_otherwise_does_not_replay(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    first, *others = episode.turns
    for changed, message in (
        (replace(episode, turns=(replace(first, reward=3.0), *others)), "turn 1 gives reward 0, recorded was 3"),
        (replace(episode, turns=(replace(first, action="+"), *others)), r"turn 1 gives action \(, recorded was \+"),
        (replace(episode, turns=tuple(episode.turns[:-1])), "does not end the episode"),
        (replace(episode, turns=(*episode.turns, episode.turns[-1])), "ends the episode"),
        (replace(episode, info={**episode.info, "cards": ["AH"]}), "starts with cards .* recorded was"),
        (replace(episode, success=False), "is a success, recorded was no success"),
    ):
        with pytest.raises(ResultError, match=message):
            replay_episode(result.meta, changed)


def test_a_page_without_scores_has_no_shading_and_the_same_bytes_each_time(
    evaluation: Evaluate, tmp_path: Path
) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    page = page_of(tmp_path, result).read_text("utf-8")
    assert "Shade the tokens" not in page
    assert page == page_of(tmp_path, result).read_text("utf-8")
    assert page.count("data:image/png;base64,") == result.episodes[0].steps + 1
    assert "default-src &#39;none&#39;" not in page
    assert "default-src 'none'" in page


def test_steps_by_keyboard_and_buttons(browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    n_turns = result.episodes[0].steps
    opened = browser_page(page_of(tmp_path, result))
    page = opened.page

    def seen() -> list[str]:
        return page.eval_on_selector_all(".turn", "turns => turns.filter(t => t.offsetHeight > 0).map(t => t.id)")

    def press(key: str) -> str:
        page.keyboard.press(key)
        (shown,) = seen()
        return shown

    assert seen() == ["turn-1"]
    opened.screenshot("replay-light")
    keys = ("ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home", "ArrowLeft")
    assert [press(key) for key in keys] == ["turn-2", "turn-3", "turn-2", "end", "end", "turn-1", "turn-1"]
    page.click("#next")
    assert seen() == ["turn-2"]
    assert page.inner_text("#progress").startswith(f"Turn 2 of {n_turns}: action ")
    assert page.get_attribute("#progress", "aria-live") == "polite"
    page.click("#last")
    assert page.inner_text("#progress") == "End: solved, return +10"
    assert page.is_disabled("#next")
    page.focus("#place")
    page.keyboard.press("Home")
    assert seen() == ["turn-1"]
    opened.assert_quiet()


def test_space_plays_and_stops(browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path) -> None:
    opened = browser_page(page_of(tmp_path, evaluation(SolverPolicy(), n_episodes=1)))
    page = opened.page
    page.keyboard.press(" ")
    assert page.inner_text("#play") == "❚❚ Pause"
    page.wait_for_selector("#turn-3", state="visible")  # it plays on by itself
    page.keyboard.press(" ")
    assert "Play" in page.inner_text("#play")
    page.keyboard.press("End")
    page.keyboard.press(" ")  # at the end, from the beginning
    assert page.is_visible("#turn-1")
    opened.assert_quiet()


def test_a_link_to_a_turn_opens_it(browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path) -> None:
    opened = browser_page(page_of(tmp_path, evaluation(SolverPolicy(), n_episodes=1)), anchor="#turn-4")
    assert opened.page.is_visible("#turn-4")
    assert opened.page.is_hidden("#turn-1")


def test_a_thought_that_is_a_script_is_shown_and_not_run(
    browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path
) -> None:
    result = evaluation(Attacker(), n_episodes=1)
    add_scores(result)
    path = page_of(tmp_path, result)
    assert path.read_text("utf-8").count("<script") == 1
    opened = browser_page(path)
    page = opened.page
    assert page.title().startswith("attacker, episode 0")
    assert "<script>document.title = 'taken'; alert(1)</script>" in page.inner_text("#turn-1 .text")
    assert "</script><script>" in page.inner_text("#turn-1 .text")
    assert page.locator("script").count() == 1
    assert page.locator("img[src=x]").count() == 0
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#turn-2 .tokens") == ATTACKS[1]
    assert "invalid answer" in page.inner_text("#turn-2")
    opened.screenshot("replay-attack")
    opened.assert_quiet()


def test_a_script_that_got_into_the_page_would_not_run(
    browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path
) -> None:
    path = page_of(tmp_path, evaluation(SolverPolicy(), n_episodes=1))
    attack = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\"></body>"
    path.write_text(path.read_text("utf-8").replace("</body>", attack), "utf-8")
    opened = browser_page(path)
    assert opened.page.title().startswith("expert")
    assert any("Content Security Policy" in error for error in opened.errors)


def test_tokens_are_shaded_and_the_switch_changes_what_by(
    browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path
) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    add_scores(result)
    opened = browser_page(page_of(tmp_path, result))
    page = opened.page
    unlikely, doubted, likely = "#turn-1 .tokens .p5", "#turn-1 .tokens .k2", "#turn-1 .tokens .p0"

    def colour(selector: str) -> str:
        return str(page.eval_on_selector(selector, "token => getComputedStyle(token).backgroundColor"))

    plain = colour(likely)
    assert colour(unlikely) != plain
    assert page.get_attribute(unlikely, "title") == (
        "log p −5.30 (0.5%), teacher's log q −0.51 (60%), log p − log q −4.79"
    )
    assert "Least likely" in page.inner_text("#turn-1")
    assert page.is_visible(".key.likely")
    opened.screenshot("replay-log-prob")
    page.check("input[value=apart]")
    assert {colour(unlikely), colour(doubted)} & {plain} == set()
    assert colour(unlikely) != colour(doubted)
    assert "Furthest from the teacher" in page.inner_text("#turn-1")
    assert page.is_hidden(".key.likely")
    opened.screenshot("replay-teacher-kl")
    page.check("input[value=off]")
    assert colour(unlikely) == colour(doubted) == plain
    opened.assert_quiet()


@pytest.mark.parametrize(("dark", "phone"), [(True, False), (False, True), (True, True)])
def test_it_is_good_in_the_dark_and_on_a_phone(
    browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path, dark: bool, phone: bool
) -> None:
    result = evaluation(SayingPolicy("Donaudampfschifffahrtsgesellschaft" * 8), n_episodes=1)
    add_scores(result)
    opened = browser_page(page_of(tmp_path, result), dark=dark, phone=phone)
    opened.assert_no_sideways_scrolling()
    opened.screenshot(f"replay{'-dark' if dark else ''}{'-phone' if phone else ''}", full=phone)
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(18, 22, 21)") == dark
    opened.assert_quiet()


def test_without_scripts_all_turns_are_there(browser_page: BrowserPage, evaluation: Evaluate, tmp_path: Path) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    opened = browser_page(page_of(tmp_path, result), script=False)
    visible = opened.page.locator(".turn:visible").count()
    assert visible == result.episodes[0].steps + 1
    assert opened.page.is_hidden("#bar")


def test_an_episode_that_does_not_replay_is_shown_without_pictures(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    changed = replace(episode, turns=(replace(episode.turns[0], reward=3.0), *episode.turns[1:]))
    shown = gather(result.folder, result.meta, changed, 0)
    page = render_replay(shown)
    assert "turn 1 gives reward 0, recorded was 3" in page
    assert "agrees with the record" not in page
    assert "data:image/png" not in page
    assert "10 + 8" in page or "thought" in page.lower()


def test_scores_of_another_episode_are_not_shown(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    write_sorted(result.folder, {episode.seed: EpisodeScores(episode.seed, (TurnScores(("x",), (-1.0,)),))})
    shown = gather(result.folder, result.meta, episode, 0)
    assert "no scores are shown" in shown.problems[0]
    assert "Shade the tokens" not in render_replay(shown)


def test_shades_follow_probability_and_distance() -> None:
    assert [shade_of(math.log(p)) for p in (1.0, 0.9, 0.6, 0.2, 0.1, 0.02, 0.001)] == [0, 0, 1, 2, 3, 4, 5]
    assert shade_of(None) == 0
    view = turn_tokens(TurnScores(("a", "b", "c"), (-0.1, -3.0, None), (-0.2, -0.5, -1.0)))
    assert [token.apart for token in view.tokens] == [0, -2, None]
    assert view.unlikely == "“b” 5.0%, teacher 61%"
    assert view.tokens[2].title == "log p unknown"


def test_the_command_writes_page_and_gif(
    evaluation: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluation(SolverPolicy(), n_episodes=3)
    monkeypatch.chdir(tmp_path)
    assert main(["replay", "results", "--episode", "2", "--gif", "e.gif"]) == 0
    made = tmp_path / "replays" / "expert-gtr-Points24-v0-all-seed-0-episode-2.html"
    assert f"seed {result.episodes[2].seed}" in made.read_text("utf-8")
    assert (tmp_path / "e.gif").read_bytes().startswith(b"GIF89a")
    assert main(["replay", "results", "-e", str(result.episodes[1].seed), "--out", "p.html"]) == 0
    assert "episode 1" in (tmp_path / "p.html").read_text("utf-8")
    before = (result.folder / "episodes.jsonl").read_bytes()
    for arguments, message in (
        (["-e", "3"], "has no episode 3"),
        (["--seed", "4"], "no evaluation with seed 4"),
        (["--out", str(result.folder / "episodes.jsonl")], "ends in .html"),
        (["--gif", "x.png"], "ends in .gif"),
    ):
        assert main(["replay", "results", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert (result.folder / "episodes.jsonl").read_bytes() == before
    evaluation(SolverPolicy(), n_episodes=1, seed=1)
    assert main(["replay", "results"]) == 2
    assert "holds 2 evaluations" in capsys.readouterr().err
    assert main(["replay", "results", "--seed", "1"]) == 0


def test_a_gif_without_frames_is_an_error(evaluation: Evaluate, tmp_path: Path) -> None:
    from leaderboard.replay_gif import write_gif

    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    changed = replace(episode, turns=(replace(episode.turns[0], reward=3.0), *episode.turns[1:]))
    with pytest.raises(ResultError, match="no frames"):
        write_gif(tmp_path / "e.gif", gather(result.folder, result.meta, changed, 0))
