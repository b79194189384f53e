"""Sample episodes of an agent's page: the first by seed, solved and unsolved ones, none picked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gtr_envs.episode import Episode, Turn, episode_seeds
from gtr_envs.errors import ResultError
from gtr_envs.protocol import AnswerStatus
from leaderboard.options import WHOLE
from leaderboard.pictures import Pictures
from leaderboard.pool import Pool
from leaderboard.replay import replay
from leaderboard.summary import Result
from leaderboard.texts import card_name, readable, signed
from leaderboard.wording import outcome

SHOWN_TEXT = 600
"""Characters of one thought that a sample shows; its replay has all of it."""

SIDES = {"train": "trained multiset", "test": "held-out multiset"}


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
    number: int
    split: str
    outcome: str
    success: bool
    cards: tuple[tuple[str, bool], ...]
    side: str
    task: str
    error: str
    episode_return: str
    turns: tuple[TurnView, ...]
    last_picture: str | None
    problem: str | None
    replay: str | None


def choose(episodes: Sequence[Episode], count: int) -> list[Episode]:
    """The first solved and the first unsolved ones by seed, half and half as far as there are; sorted by seed.

    Args:
        episodes: to choose from.
        count: how many at most.
    """
    ordered = sorted(episodes, key=lambda episode: episode.seed)
    solved = [episode for episode in ordered if episode.success]
    unsolved = [episode for episode in ordered if not episode.success]
    n_solved = min(len(solved), max(count // 2, count - len(unsolved)))
    chosen = solved[:n_solved] + unsolved[: count - n_solved]
    return sorted(chosen, key=lambda episode: episode.seed)


def _turn_view(turn: Turn, image: str | None) -> TurnView:
    return TurnView(
        number=turn.index + 1,
        picture=image,
        action="no action" if turn.action is None else readable(turn.action, 100),
        thought=readable(turn.thoughts, SHOWN_TEXT),
        reward=signed(turn.reward),
        tone="good" if turn.reward > 0 else "bad" if turn.reward < 0 else "plain",
        status=str(turn.status),
        illegal=turn.illegal,
        answer=None if turn.status is AnswerStatus.STRICT else readable(turn.text, SHOWN_TEXT),
    )


def episode_number(result: Result, episode: Episode) -> int:
    """Which of the evaluation's episodes it is, the first being 0."""
    return episode.seed - episode_seeds(result.meta.seed, 1)[0]


def episode_view(
    result: Result, episode: Episode, pictures: Pictures, link: str | None, notice: Callable[[str], None]
) -> EpisodeView:
    """An episode as the page shows it.

    Args:
        result: the evaluation it belongs to.
        episode: one of its episodes.
        pictures: takes its frames.
        link: of its replay, if one was built.
        notice: called with a line of text if it cannot be replayed.
    """
    images: list[str | None] = [None] * (episode.steps + 1)
    problem = None
    try:
        images = [pictures.add(frame) for frame in replay(result.meta, episode)]
    except ResultError as error:
        problem = str(error)
        notice(problem)
    turns = zip(episode.turns, images, strict=False)  # one that crashed midway has a picture less
    return EpisodeView(
        seed=episode.seed,
        number=episode_number(result, episode),
        split=result.meta.split,
        outcome=outcome(episode, result.meta.env_id, error=False),
        success=episode.success,
        cards=tuple(card_name(str(name)) for name in episode.info.get("cards", ())),
        side=SIDES.get(str(episode.info.get("hand_split")), ""),
        task=readable(str(episode.info.get("task", "")), 200),
        error=readable(episode.error or ""),
        episode_return=signed(episode.episode_return),
        turns=tuple(_turn_view(turn, image) for turn, image in turns),
        last_picture=images[-1] if len(images) > episode.steps else None,
        problem=problem,
        replay=link,
    )


def sample_of(lines: Sequence[Pool], count: int) -> list[tuple[Result, Episode]]:
    """The sample of an agent on one environment: of its first seed, spread over the splits in their order.

    Args:
        lines: the agent's lines on that environment, one a split, the most telling split first. One that mixes the
            others' hands is left out beside two of them: with the same seed it may hold the same hand.
        count: how many episodes in all.
    """
    sides = [line for line in lines if line.meta.split != WHOLE]
    firsts = [line.results[0] for line in (sides if len(sides) >= 2 else lines)]
    shares = [len(range(place, count, len(firsts))) for place in range(len(firsts))]
    chosen = [choose(result.episodes, share) for result, share in zip(firsts, shares, strict=True)]
    return [(result, episode) for result, own in zip(firsts, chosen, strict=True) for episode in own]
