"""Watch an agent play, in the terminal or by saved frames. Nothing is kept of it: an evaluation is for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gtr_envs.episode import Episode, Policy, Seat, Turn, episode_seeds
from gtr_envs.errors import MissingExtraError, OutputExistsError
from gtr_envs.protocol import AnswerStatus
from gtr_envs.storage import writing
from gtr_envs.text_actions import make_text_env
from leaderboard.half_blocks import half_blocks, has_pictures
from leaderboard.texts import readable, signed
from leaderboard.wording import outcome

if TYPE_CHECKING:
    from rich.console import Console


NO_FRAME = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True)
class Moment:
    """A turn that was just played, or the beginning or the end of an episode.

    Attributes:
        number: of the episode, counted from 0.
        seed: of the episode.
        frame: (height, width, 3) uint8: what the turn answered; at the end, the last picture; empty at the beginning.
        prompt: the text that went with it; empty at beginning and end.
        turn: the turn; None at beginning and end.
        episode: the whole episode; None before its end.
        total: the return so far.
    """

    number: int
    seed: int
    frame: np.ndarray
    prompt: str
    turn: Turn | None
    episode: Episode | None
    total: float


def moments(policy: Policy, env_id: str, env_kwargs: Mapping[str, Any], seed: int, n_episodes: int) -> Iterator[Moment]:
    """Play the episodes of an evaluation's seed one after the other, exactly as an evaluation would.

    Args:
        policy: who plays.
        env_id: where.
        env_kwargs: the environment's options.
        seed: the evaluation seed.
        n_episodes: how many episodes.

    Yields:
        each episode's beginning, its turns as they were played, and its end.
    """
    seat = Seat(make_text_env(env_id, **env_kwargs), seed, keep_frames=True)
    try:
        for number, episode_seed in enumerate(episode_seeds(seed, n_episodes)):
            error = None
            yield Moment(number, episode_seed, NO_FRAME, "", None, None, 0.0)
            try:
                seat.start(episode_seed)
            except MissingExtraError:
                raise
            except Exception as failure:
                error = failure
            while error is None and not seat.done:
                request = seat.request()
                frame = np.array(request.frame)
                response = policy.act([request])[0]
                try:
                    turn = seat.apply(response)
                except Exception as failure:
                    error = failure
                    continue
                total = sum(played.reward for played in seat.turns)
                yield Moment(number, episode_seed, frame, request.prompt, turn, None, total)
            episode = seat.episode(None if error is None else f"{type(error).__name__}: {error}")
            yield Moment(number, episode_seed, np.array(seat.frame), "", None, episode, episode.episode_return)
            if error is not None:  # an environment that failed is not trusted again
                seat.env.close()
                seat = Seat(make_text_env(env_id, **env_kwargs), seed, keep_frames=True)
    finally:
        seat.env.close()


def watch(
    console: Console,
    found: Iterator[Moment],
    *,
    delay: float = 0.0,
    pictures: bool = True,
    questions: bool = True,
    save: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Episode]:
    """Show what is played while it is played.

    Args:
        console: where to.
        found: of :func:`moments`.
        delay: seconds to wait after each turn.
        pictures: whether to draw the frames, if the terminal has colours.
        questions: whether to show frames and prompts; a person who plays sees them already.
        save: a folder for the frames as PNG files.
        sleep: how to wait.

    Returns:
        the episodes that were played.

    Raises:
        OutputExistsError: a frame's file is there already.
    """
    episodes: list[Episode] = []
    last_prompt = ""
    for moment in found:
        if moment.turn is None and moment.episode is None:
            last_prompt = ""
            _print(console, f"\nEpisode {moment.number}, seed {moment.seed}", "bold")
        if questions:
            if pictures and moment.frame.size and has_pictures(console):
                console.print(half_blocks(moment.frame, min(60, console.width)))
            if moment.prompt and moment.prompt != last_prompt:
                _print(console, _shorter(moment.prompt, last_prompt), "dim")
                last_prompt = moment.prompt
        if save is not None and moment.frame.size:
            _print(console, f"saved {save_frame(save, moment)}", "dim")
        if moment.turn is not None:
            _print_turn(console, moment.turn, moment.total)
            sleep(delay)
        if moment.episode is not None:
            episodes.append(moment.episode)
            _print_end(console, episodes)
    return episodes


def save_frame(folder: Path, moment: Moment) -> Path:
    """Write a moment's frame as ``episode-000-turn-01.png`` or ``episode-000-end.png``; returns its path.

    Raises:
        OutputExistsError: the file is there already.
        OutputError: it cannot be written.
    """
    from PIL import Image

    place = "end" if moment.turn is None else f"turn-{moment.turn.index + 1:02d}"
    path = folder / f"episode-{moment.number:03d}-{place}.png"
    if path.exists():
        raise OutputExistsError(f"{path} is there already; choose another --save, or delete it")
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(moment.frame).save(path)
    return path


def _shorter(prompt: str, last: str) -> str:
    """A prompt without the lines that stood in the last one, which is mostly its instruction."""
    seen = set(last.splitlines())
    return "\n".join(line for line in prompt.splitlines() if line not in seen) if last else prompt


def _print(console: Console, text: str, style: str = "") -> None:
    """Print a text that may be a model's: nothing in it is taken for markup, nor for the terminal's own codes."""
    shown = readable(text, 4000)
    console.print(shown, style=style, markup=False, highlight=False, emoji=False, soft_wrap=not console.is_terminal)


def _print_turn(console: Console, turn: Turn, total: float) -> None:
    colour = "green" if turn.reward > 0 else "red" if turn.reward < 0 else ""
    marks = [str(turn.status)] if turn.status is not AnswerStatus.STRICT else []
    marks += ["illegal"] if turn.illegal else []
    action = "no action" if turn.action is None else turn.action
    if turn.thoughts:
        _print(console, f"   thought  {turn.thoughts}", "italic")
    if turn.status is not AnswerStatus.STRICT:
        _print(console, f"   answer   {turn.text}", "dim")
    head = f"{turn.index + 1:2d} action   {action}"
    _print(
        console, f"{head}   reward {signed(turn.reward)}, so far {signed(total)}  {' '.join(marks)}".rstrip(), colour
    )


def _print_end(console: Console, episodes: list[Episode]) -> None:
    episode = episodes[-1]
    wins = sum(each.success for each in episodes)
    mean = sum(each.episode_return for each in episodes) / len(episodes)
    turns = f"{episode.steps} {'turn' if episode.steps == 1 else 'turns'}"
    _print(console, f"{outcome(episode)} after {turns}, return {signed(episode.episode_return)}", "bold")
    _print(console, f"so far {wins} of {len(episodes)} solved, mean return {mean:.2f}".replace("-", "−"))
