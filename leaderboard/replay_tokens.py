"""An answer's tokens as a replay shows them: how likely each was, and how far the teacher's mind was from the agent's.

log p is a token's log-prob under the agent, log q under the teacher, in nats, as :mod:`leaderboard.scores` reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leaderboard.scores import TurnScores
from leaderboard.texts import readable

LIKELY = (0.9, 0.5, 0.2, 0.05, 0.01)
"""Where one shade of likelihood ends and the next begins: 0 is at least 90%, 5 is below 1%."""

APART = 0.5, 2.0
"""Nats of log p - log q above which a token is shaded, and above which strongly."""

NOTABLE = 5
"""How many tokens are named in words."""


@dataclass(frozen=True)
class Token:
    """A token as it is shown.

    Attributes:
        text: what it says.
        title: its figures in words.
        likely: 0 (likely) to 5 (hardly), how it is shaded by likelihood.
        apart: -2 (the teacher is much surer) to 2 (the agent is), how it is shaded by log p - log q; None without a
            teacher.
    """

    text: str
    title: str
    likely: int
    apart: int | None


@dataclass(frozen=True)
class TurnTokens:
    """The tokens of one answer; ``unlikely`` and ``disputed`` name the most notable in words."""

    tokens: tuple[Token, ...]
    unlikely: str
    disputed: str
    has_teacher: bool


def turn_tokens(scores: TurnScores) -> TurnTokens:
    """A turn's tokens, ready to be shown.

    Args:
        scores: as recorded.
    """
    given = scores.teacher_log_probs
    teacher = given if given is not None else (None,) * len(scores.pieces)
    rows = list(zip(scores.pieces, scores.log_probs, teacher, strict=True))
    unlikely = _named(rows, lambda p, q: None if p is None or p > math.log(LIKELY[1]) else p)
    disputed = _named(rows, lambda p, q: None if p is None or q is None or abs(p - q) < APART[0] else -abs(p - q))
    return TurnTokens(tuple(_token(*row) for row in rows), unlikely, disputed, given is not None)


def shade_of(log_prob: float | None) -> int:
    """The shade of a token's likelihood, 0 to ``len(LIKELY)``; that of a log-prob that is not known is 0."""
    return 0 if log_prob is None else sum(math.exp(min(log_prob, 0.0)) < limit for limit in LIKELY)


def _side(apart: float) -> int:
    """How far apart two log-probs are, -2 to 2."""
    return sum(abs(apart) >= limit for limit in APART) * (1 if apart > 0 else -1)


def _token(text: str, own: float | None, teacher: float | None) -> Token:
    title = "log p unknown" if own is None else f"log p {own:.2f} ({_percent(own)})"
    apart = None
    if own is not None and teacher is not None:
        apart = _side(own - teacher)
        title += f", teacher's log q {teacher:.2f} ({_percent(teacher)}), log p − log q {own - teacher:+.2f}"
    return Token(readable(text), title.replace("-", "−"), shade_of(own), apart)


def _percent(log_prob: float) -> str:
    share = 100 * math.exp(min(log_prob, 0.0))
    return "under 0.1%" if share < 0.1 else f"{share:.1f}%" if share < 10 else f"{share:.0f}%"


def _named(
    rows: Sequence[tuple[str, float | None, float | None]],
    rank: Callable[[float | None, float | None], float | None],
) -> str:
    """The most notable tokens in words: those of the smallest rank; None is not notable."""
    ranked = [(value, index) for index, (_, p, q) in enumerate(rows) if (value := rank(p, q)) is not None]
    words = []
    for _, index in sorted(ranked)[:NOTABLE]:
        text, own, teacher = rows[index]
        figures = [] if own is None else [_percent(own)]
        figures += [] if teacher is None else [f"teacher {_percent(teacher)}"]
        words.append(f"“{readable(text.strip() or repr(text))}” {', '.join(figures)}")
    return "; ".join(words)
