"""How well an agent read the cards: those that its answers name, compared with those on the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gtr_envs.episode import Episode

FACES = {"a": 1, "j": 10, "q": 10, "k": 10, "ace": 1, "jack": 10, "queen": 10, "king": 10}


@dataclass(frozen=True)
class CardReading:
    """How well the cards were read: ``accuracy`` over all cards of the ``turns`` whose answers named cards."""

    turns: int
    accuracy: float


def card_value(text: Any) -> int | None:
    """The value of a card as an agent may write it: ``7``, ``"7"``, ``"K"``, ``"10S"``, ``"queen"``; else None."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if not isinstance(text, str):
        return None
    word = text.strip().lower()
    for candidate in (word, word[:-1] if word[-1:] in set("hdsc♥♦♠♣") else word):
        if candidate in FACES:
            return FACES[candidate]
        if candidate.isascii() and candidate.isdigit() and len(candidate) < 4:
            return int(candidate)
    return None


def read_cards(episodes: Iterable[Episode]) -> CardReading | None:
    """Compare the cards that answers name with the cards on the table.

    A card counts as read if its value is named, in whatever order; naming more cards than there are costs accuracy.

    Args:
        episodes: with ``numbers`` in their info.

    Returns:
        the accuracy over all cards, None if no answer names cards.
    """
    turns, right, shown = 0, 0, 0
    for episode in episodes:
        numbers = episode.info.get("numbers")
        for turn in episode.turns:
            named = turn.fields.get("cards")
            if not numbers or not isinstance(named, list):
                continue
            turns += 1
            right += (Counter(map(card_value, named)) & Counter(numbers)).total()
            shown += max(len(numbers), len(named))
    return CardReading(turns, right / shown) if turns else None
