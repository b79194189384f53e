"""An episode as an animated GIF: each frame with what the agent thought and did under it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gtr_envs.errors import ResultError
from gtr_envs.storage import write_atomic
from leaderboard.replay_page import Shown
from leaderboard.texts import readable, signed
from leaderboard.wording import outcome

if TYPE_CHECKING:
    from PIL import Image, ImageFont

NARROWEST = 300
MOST_LINES = 7
FONT_SIZE, LINE, MARGIN = 14, 19, 10
PAPER, INK, SOFT, GOOD, BAD = (250, 249, 246), (28, 35, 33), (93, 103, 99), (17, 100, 60), (156, 28, 28)
TURN_MS, END_MS = 1500, 3000
NARROWEST_LETTER = 3
"""Pixels that a letter takes at least; no more of a text is looked at than could fit."""

Caption = tuple[str, str, tuple[int, int, int]]
"""What is done, what is thought, and the colour of the former."""


def write_gif(path: Path, shown: Shown) -> None:
    """Write an episode's GIF, whole or not at all; the same episode gives the same bytes.

    Args:
        path: where to.
        shown: the episode.

    Raises:
        ResultError: it could not be played again, so there are no frames.
        OutputError: it cannot be written.
    """
    write_atomic(path, render_gif(shown))


def render_gif(shown: Shown) -> bytes:
    """The GIF's bytes. Errors as for :func:`write_gif`."""
    from PIL import Image, ImageFont

    if shown.replayed is None:
        raise ResultError(f"there are no frames for a GIF: {'; '.join(shown.problems)}")
    frames = [turn.frame for turn in shown.replayed.episode.turns if turn.frame is not None]
    captions = [_caption_of_turn(shown, index) for index in range(len(frames))]
    colour = GOOD if shown.episode.success else BAD
    captions.append(
        (f"{outcome(shown.episode, shown.meta.env_id)}, return {signed(shown.episode.episode_return)}", "", colour)
    )
    font = ImageFont.load_default(FONT_SIZE)
    images = _captioned([*frames, shown.replayed.last_frame], captions, font)
    few = [image.quantize(256, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    durations = [TURN_MS] * (len(few) - 1) + [END_MS]
    few[0].save(buffer, "GIF", save_all=True, append_images=few[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _caption_of_turn(shown: Shown, index: int) -> Caption:
    turn = shown.episode.turns[index]
    action = "no action" if turn.action is None else readable(turn.action)
    marks = ["illegal"] if turn.illegal else []
    marks += [f"{turn.status} answer"] if turn.status != "strict" else []
    reward = f"reward {signed(turn.reward)}" if turn.reward else ""
    done = ", ".join(filter(None, [f"{index + 1}: {action}", reward, *marks]))
    return done, " ".join(readable(turn.thoughts).split()), GOOD if turn.reward > 0 else BAD if turn.reward < 0 else INK


def _captioned(
    frames: Sequence[np.ndarray], captions: Sequence[Caption], font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> list[Image.Image]:
    """The frames, all of one size, with room under them for the longest caption."""
    from PIL import Image, ImageDraw

    height, width = max(frame.shape[0] for frame in frames), max(*(frame.shape[1] for frame in frames), NARROWEST)
    room = width - 2 * MARGIN
    texts = [
        [(line, colour) for line in wrap(done, room, font, 2)]
        + [(line, SOFT) for line in wrap(thought, room, font, MOST_LINES)]
        for done, thought, colour in captions
    ]
    caption = 2 * MARGIN + LINE * max(map(len, texts))
    images = []
    for frame, lines in zip(frames, texts, strict=True):
        image = Image.new("RGB", (width, height + caption), PAPER)
        image.paste(Image.fromarray(frame), ((width - frame.shape[1]) // 2, 0))
        draw = ImageDraw.Draw(image)
        for number, (line, colour) in enumerate(lines):
            plain = line.replace("−", "-")  # the true minus is not in Pillow's font
            draw.text((MARGIN, height + MARGIN + LINE * number), plain, fill=colour, font=font)
        images.append(image)
    return images


def wrap(text: str, width: float, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, most: int) -> list[str]:
    """Break a text into at most so many lines of this width in pixels; what does not fit ends in an ellipsis."""
    lines, line = list[str](), ""
    in_a_line = int(width / NARROWEST_LETTER)
    for word in text[: (most + 1) * in_a_line].split():
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while font.getlength(word) > width:  # a word that is wider than a line is broken anywhere
            cut = next(
                n for n in range(min(len(word) - 1, in_a_line), 0, -1) if n == 1 or font.getlength(word[:n]) <= width
            )
            lines.append(word[:cut])
            word = word[cut:]
            if len(lines) > most:
                break
        line = word
        if len(lines) > most:
            break
    lines += [line] if line else []
    if len(lines) > most:
        last = lines[most - 1]
        while last and font.getlength(f"{last}…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], f"{last}…"]
    return lines
