"""A replay's GIF: a frame a turn with what was thought and done under it, the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFont, ImageSequence

from gtr_envs.experts import SolverPolicy
from leaderboard.replay_gif import END_MS, FONT_SIZE, MOST_LINES, TURN_MS, render_gif, wrap
from leaderboard.replay_page import gather

from .conftest import Evaluate, SayingPolicy


def test_each_turn_has_its_frame_and_its_words(evaluation: Evaluate) -> None:
    result = evaluation(SolverPolicy(), n_episodes=1)
    (episode,) = result.episodes
    shown = gather(result.folder, result.meta, episode, 0)
    data = render_gif(shown)
    assert data == render_gif(gather(result.folder, result.meta, episode, 0))
    image = Image.open(io.BytesIO(data))
    frames = [(frame.copy().convert("RGB"), frame.info["duration"]) for frame in ImageSequence.Iterator(image)]
    assert [duration for _, duration in frames] == [TURN_MS] * episode.steps + [END_MS]
    assert image.info["loop"] == 0
    first, seen = np.asarray(frames[0][0]).astype(int), np.asarray(shown.replayed.episode.turns[0].frame)  # type: ignore[union-attr]
    assert first.shape[0] > seen.shape[0] == 300
    assert np.abs(first[:300] - seen).mean() < 4  # 256 colours
    captions = [np.asarray(frame)[300:] for frame, _ in frames]
    assert all((caption.min(axis=2) < 100).any() for caption in captions)
    assert not np.array_equal(captions[0], captions[1])


@pytest.mark.parametrize("thought", ["x" * 5000, "", "\u202e\x00 漢字 🎲 <b>", "many words " * 400])
def test_any_thought_fits_under_the_frame(evaluation: Evaluate, thought: str) -> None:
    result = evaluation(SayingPolicy(thought), n_episodes=1)
    image = Image.open(io.BytesIO(render_gif(gather(result.folder, result.meta, result.episodes[0], 0))))
    assert image.width == 300
    assert image.height < 300 + 20 + 19 * (MOST_LINES + 3)


def test_lines_are_no_wider_than_allowed_and_an_ellipsis_says_that_more_was_there() -> None:
    font = ImageFont.load_default(FONT_SIZE)
    lines = wrap("alpha beta gamma " * 30, 200, font, 3)
    assert len(lines) == 3
    assert lines[-1].endswith("…")
    assert all(font.getlength(line) <= 200 for line in (*lines, *wrap("y" * 300, 200, font, 3)))
    assert wrap("one two", 200, font, 3) == ["one two"]
    assert wrap("", 200, font, 3) == []
