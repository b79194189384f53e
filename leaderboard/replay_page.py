"""One episode as a self-contained page: turn by turn, by keyboard, with tokens shaded where scores were recorded.

The page loads nothing: pictures are data URIs. Its one script and its one style are allowed by their digests in the
content policy and nothing else is, so that no text of a model could run even if it became markup; and it cannot, since
the template escapes everything and no text is put into the script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gtr_envs.episode import Episode, Turn
from gtr_envs.errors import ResultError
from gtr_envs.protocol import MAX_ANSWER_LENGTH
from gtr_envs.storage import write_atomic
from leaderboard.pictures import png
from leaderboard.records import RunMeta
from leaderboard.replay import Replayed, replay_episode
from leaderboard.replay_tokens import TurnTokens, turn_tokens
from leaderboard.scores import scores_of_episode
from leaderboard.standings import sampling
from leaderboard.texts import card_name, readable, signed
from leaderboard.wording import outcome

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Shown:
    """An episode with all that can be shown of it.

    Attributes:
        meta: the settings it was played with.
        episode: as recorded.
        number: its place in the evaluation, counted from 0.
        replayed: as it came about again; None where that failed.
        tokens: an entry a turn, None where no scores were recorded.
        problems: why something is missing, in words.
    """

    meta: RunMeta
    episode: Episode
    number: int
    replayed: Replayed | None
    tokens: tuple[TurnTokens | None, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class TurnView:
    """One turn as the page shows it."""

    number: int
    picture: str | None
    prompt: str | None
    thought: str
    action: str
    answer: str
    reward: str
    tone: str
    sum: str
    status: str
    illegal: bool
    said: str
    tokens: TurnTokens | None


def gather(folder: Path, meta: RunMeta, episode: Episode, number: int) -> Shown:
    """Bring together what is known of an episode: play it again, look for scores.

    Args:
        folder: of its evaluation.
        meta, episode: as read from there.
        number: its place in the evaluation, counted from 0.

    Returns:
        what there is; a part that is damaged is missing, and named in ``problems``.
    """
    problems: list[str] = []
    replayed = None
    try:
        replayed = replay_episode(meta, episode)
    except ResultError as error:
        problems.append(str(error))
    tokens: tuple[TurnTokens | None, ...] = (None,) * episode.steps
    try:
        scores = scores_of_episode(folder, episode)
        if scores is not None:
            tokens = tuple(turn_tokens(turn) if turn.pieces else None for turn in scores.turns)
    except ResultError as error:
        problems.append(f"no scores are shown: {error}")
    return Shown(meta, episode, number, replayed, tokens, tuple(problems))


def write_replay(path: Path, shown: Shown) -> None:
    """Write an episode's page.

    Args:
        path: where to.
        shown: the episode.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(path, render_replay(shown))


def render_replay(shown: Shown) -> str:
    """The page's text; the same episode gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    own = {name: (TEMPLATES / f"replay.{name}").read_text("utf-8") for name in ("css", "js")}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    episode, meta = shown.episode, shown.meta
    return environment.get_template("replay.html.j2").render(
        css=Markup(own["css"]),
        js=Markup(own["js"]),
        css_digest=_digest(own["css"]),
        js_digest=_digest(own["js"]),
        meta=meta,
        about=_about(meta),
        number=shown.number,
        seed=episode.seed,
        outcome=outcome(episode, meta.env_id),
        success=episode.success,
        start=_start(episode),
        episode_return=signed(episode.episode_return),
        turns=_turn_views(shown),
        last_picture=None if shown.replayed is None else _data_uri(shown.replayed.last_frame),
        problems=shown.problems,
        replayed=shown.replayed is not None,
        has_scores=any(tokens is not None for tokens in shown.tokens),
        has_teacher=any(tokens is not None and tokens.has_teacher for tokens in shown.tokens),
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _data_uri(frame: np.ndarray) -> str:
    return "data:image/png;base64," + base64.b64encode(png(frame)).decode("ascii")


def _about(meta: RunMeta) -> str:
    """The settings that tell this evaluation from others, in a line."""
    rules = "" if meta.rules == "strict" else meta.rules
    method = "" if meta.method == meta.agent else meta.method
    parts = (
        meta.env_id,
        f"split {meta.split}",
        rules,
        f"evaluation seed {meta.seed}",
        method,
        meta.base_model,
        "" if meta.temperature is None else sampling(meta.temperature),
    )
    return " · ".join(part for part in parts if part)


def _start(episode: Episode) -> list[tuple[str, bool]]:
    """What the episode started with, in a few words each, and whether it is a red card."""
    if "cards" in episode.info:
        return [card_name(str(name)) for name in episode.info["cards"]]
    if "task" in episode.info:
        return [(readable(str(episode.info["task"])), False)]
    return []


def _turn_views(shown: Shown) -> list[TurnView]:
    again: Sequence[Turn | None] = (
        (None,) * shown.episode.steps if shown.replayed is None else shown.replayed.episode.turns
    )
    total, views = 0.0, []
    for turn, seen, tokens in zip(shown.episode.turns, again, shown.tokens, strict=True):
        total += turn.reward
        action = "no action" if turn.action is None else readable(turn.action)
        done = action if turn.action is None else f"action {action}"
        views.append(
            TurnView(
                number=turn.index + 1,
                picture=None if seen is None or seen.frame is None else _data_uri(seen.frame),
                prompt=None if seen is None else readable(seen.prompt, MAX_ANSWER_LENGTH),
                thought=readable(turn.thoughts, MAX_ANSWER_LENGTH),
                action=action,
                answer=readable(turn.text, MAX_ANSWER_LENGTH),
                reward=signed(turn.reward),
                tone="good" if turn.reward > 0 else "bad" if turn.reward < 0 else "plain",
                sum=signed(total),
                status=str(turn.status),
                illegal=turn.illegal,
                said=f"{done}, reward {signed(turn.reward)}{', illegal' if turn.illegal else ''}",
                tokens=tokens,
            )
        )
    return views
