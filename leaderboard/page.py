"""One self-contained HTML page: the standings, and a few episodes of each agent turn by turn.

The page loads nothing and runs no script: pictures are data URIs, and its content policy forbids anything else.
A model's text is untrusted: the template escapes everything.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gtr_envs.episode import Episode, StopReason, Turn
from gtr_envs.errors import ResultError
from gtr_envs.protocol import AnswerStatus
from leaderboard.records import write_atomic
from leaderboard.replay import replay
from leaderboard.standings import Standing, columns, number, percent, sampling, standings
from leaderboard.summary import Result, SuccessRate
from leaderboard.table import Row, finished_only, reported_rows
from leaderboard.wording import wording

MAX_TEXT = 1500
"""Characters of one text that the page shows."""

SIDES = {"train": "trained multiset", "test": "held-out multiset"}
SUITS = {"H": "♥", "D": "♦", "S": "♠", "C": "♣"}
COLOURS = 256


@dataclass(frozen=True)
class TurnView:
    """One turn as the page shows it; ``answer`` is the raw answer where it could not be read strictly."""

    number: int
    picture: str | None
    action: str
    thought: str
    reward: str
    tone: str
    status: str
    illegal: bool
    answer: str | None


@dataclass(frozen=True)
class EpisodeView:
    """One episode as the page shows it; ``problem`` says why there are no pictures, if there are none."""

    seed: int
    outcome: str
    success: bool
    cards: tuple[tuple[str, bool], ...]
    side: str
    episode_return: str
    steps: int
    turns: tuple[TurnView, ...]
    last_picture: str | None
    problem: str | None


@dataclass(frozen=True)
class AgentView:
    """One agent's episodes as the page shows them."""

    anchor: str
    name: str
    about: str
    groups: tuple[tuple[str, tuple[EpisodeView, ...]], ...]


def picture(frame: np.ndarray) -> str:
    """A frame as a PNG data URI of at most 256 colours, half the full size: it is to look at, not to measure.

    Args:
        frame: (height, width, 3) uint8.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def readable(text: str) -> str:
    """A model's text fit to be shown: control characters replaced, cut to a length that can be read. Not escaped."""
    shown = "".join(c if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) < 0xE000) else "\ufffd" for c in text)
    return shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]} … ({len(shown) - MAX_TEXT} more characters)"


def signed(value: float) -> str:
    """A reward with its sign, with a true minus."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def _turn_view(turn: Turn, image: str | None) -> TurnView:
    return TurnView(
        number=turn.index + 1,
        picture=image,
        action="no action" if turn.action is None else turn.action,
        thought=readable(turn.thoughts),
        reward=signed(turn.reward),
        tone="good" if turn.reward > 0 else "bad" if turn.reward < 0 else "plain",
        status=str(turn.status),
        illegal=turn.illegal,
        answer=None if turn.status is AnswerStatus.STRICT else readable(turn.text),
    )


def _outcome(episode: Episode) -> str:
    if episode.success:
        return "solved"
    return {
        StopReason.TERMINATED: "failed",
        StopReason.TRUNCATED: "cut off",
        StopReason.CRASHED: f"crashed: {readable(episode.error or 'unknown error')}",
    }[episode.stop]


def _card(name: str) -> tuple[str, bool]:
    """A card's name for reading, and whether it is red."""
    return name[:-1] + SUITS.get(name[-1:], name[-1:]), name[-1:] in "HD"


def _episode_view(result: Result, episode: Episode, notice: Callable[[str], None]) -> EpisodeView:
    images: list[str | None] = [None] * (episode.steps + 1)
    problem = None
    try:
        images = [picture(frame) for frame in replay(result.meta, episode)]
    except ResultError as error:
        problem = str(error)
        notice(problem)
    turns = zip(episode.turns, images[:-1], strict=True)
    return EpisodeView(
        seed=episode.seed,
        outcome=_outcome(episode),
        success=episode.success,
        cards=tuple(_card(str(name)) for name in episode.info.get("cards", ())),
        side=SIDES.get(str(episode.info.get("hand_split")), ""),
        episode_return=signed(episode.episode_return),
        steps=episode.steps,
        turns=tuple(_turn_view(turn, image) for turn, image in turns),
        last_picture=images[-1],
        problem=problem,
    )


def _chosen(results: Sequence[Result]) -> list[Result]:
    """The evaluations of one agent to show: its splits where there are several, else what there is."""
    first: dict[str, Result] = {}
    for result in sorted(results, key=lambda result: result.meta.seed):
        first.setdefault(result.meta.split, result)
    ranking = wording(results[0].meta.env_id).ranking
    sides = [first[split] for split in dict.fromkeys((*ranking, *first)) if split in first and split != "all"]
    return sides if len(sides) >= 2 or "all" not in first else [first["all"]]


def _group_title(result: Result) -> str:
    meta = result.meta
    side = wording(meta.env_id).title(meta.split)
    rules = "" if meta.rules == "strict" else f", {meta.rules}"
    return f"{side}{rules}"


def _agent_views(
    results: Sequence[Result], lines: Sequence[Standing], n_episodes: int, notice: Callable[[str], None]
) -> list[AgentView]:
    views = []
    for place, line in enumerate(lines):
        own = [
            result
            for result in results
            if (result.meta.agent, result.meta.env_id, result.meta.rules, result.meta.temperature, result.meta.method)
            == (line.agent, line.env_id, line.rules, line.temperature, line.method)
        ]
        method = "" if line.method == line.agent else line.method
        about = [line.env_id, method, own[0].meta.base_model or "", sampling(line.temperature).strip("–")]
        groups = tuple(
            (
                _group_title(result),
                tuple(_episode_view(result, episode, notice) for episode in result.episodes[:n_episodes]),
            )
            for result in _chosen(own)
        )
        views.append(AgentView(f"agent-{place}", line.agent, " · ".join(filter(None, about)), groups))
    return views


def _bar(success: SuccessRate | None) -> dict[str, Any] | None:
    """What the page needs to draw a success rate: its texts and, in percent of the width, its bar and its interval."""
    if success is None or success.n == 0:
        return None
    rate = success.rate
    return {
        "text": f"{100 * rate.value:.1f}%",
        "interval": f"{100 * rate.low:.1f} to {100 * rate.high:.1f}",
        "full": percent(success),
        "n": success.n,
        "value": f"{100 * rate.value:.2f}",
        "low": f"{100 * rate.low:.2f}",
        "width": f"{100 * (rate.high - rate.low):.2f}",
    }


def _table_views(lines: Sequence[Standing], views: Sequence[AgentView]) -> list[dict[str, Any]]:
    """A table for each environment: its name, what its columns are called, its lines, what is to be explained."""
    groups: dict[str, list[tuple[Standing, AgentView]]] = {}
    for line, view in zip(lines, views, strict=True):
        groups.setdefault(line.env_id, []).append((line, view))
    tables = []
    for env_id, pairs in groups.items():
        splits, words = columns([line for line, _ in pairs]), wording(env_id)
        heads = [title[:1].lower() + title[1:] for title in map(words.title, splits)]
        rows = [_line_view(line, view, splits) for line, view in pairs]
        tables.append({"env": env_id, "splits": splits, "heads": heads, "lines": rows, "explained": words.explained})
    return tables


def _line_view(line: Standing, view: AgentView, splits: Sequence[str]) -> dict[str, Any]:
    returns = line.episode_return
    return {
        "name": line.agent,
        "anchor": view.anchor,
        "about": view.about,
        "bars": [_bar(line.rates.get(split)) for split in splits],
        "return": number(returns).split(" ")[0].replace("-", "−"),
        "return_interval": f"{returns.low:.2f} to {returns.high:.2f}".replace("-", "−")
        if returns.low == returns.low
        else "",
    }


def _reported_view(row: Row) -> dict[str, str]:
    return {
        "env": row.env_id,
        "agent": row.agent,
        "success": "" if row.success_rate is None else f"{100 * row.success_rate:.1f}%",
        "return": "" if row.return_mean is None else f"{row.return_mean:.2f}".replace("-", "−"),
        "reference": row.reference or "",
    }


def render_page(results: Sequence[Result], n_episodes: int, notice: Callable[[str], None]) -> str:
    """The page's HTML. Arguments as for :func:`write_page`; only finished evaluations are shown."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    lines = standings(results)
    agents = _agent_views(results, lines, n_episodes, notice)
    environment = Environment(
        loader=PackageLoader("leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    metas = [result.meta for result in results]
    return environment.get_template("page.html.j2").render(
        tables=_table_views(lines, agents),
        agents=agents,
        environments=sorted({f"{meta.env_id} ({meta.rules} rules)" for meta in metas}),
        seeds=sorted({meta.seed for meta in metas}),
        versions=sorted({meta.version + (f" at {meta.git_commit}" if meta.git_commit else "") for meta in metas}),
        dates=sorted({meta.date for meta in metas}),
        reported=[_reported_view(row) for row in reported_rows()],
    )


def write_page(
    path: Path, results: Sequence[Result], n_episodes: int = 3, notice: Callable[[str], None] = lambda text: None
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        results: evaluations; unfinished ones are left out.
        n_episodes: how many episodes of each agent and split are shown: the first by seed, so none is picked, and all
            agents are seen on the same hands.
        notice: called with a line of text for each episode that could not be replayed.

    Raises:
        ResultError: none of the evaluations is finished.
    """
    write_atomic(path, render_page(finished_only(results), n_episodes, notice))
