"""What is shown to people of a model's text and of numbers, in pages and terminals. Escaping is the template's work."""

from __future__ import annotations

MAX_TEXT = 1500
"""Characters of one text that a page shows."""

SUITS = {"H": "♥", "D": "♦", "S": "♠", "C": "♣"}


def readable(text: str, limit: int = MAX_TEXT) -> str:
    """A model's text fit to be shown: control characters replaced, cut to a length that can be read. Not escaped."""
    shown = "".join(c if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) < 0xE000) else "\ufffd" for c in text)
    return shown if len(shown) <= limit else f"{shown[:limit]} … ({len(shown) - limit} more characters)"


def signed(value: float) -> str:
    """A reward with its sign, with a true minus."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def card_name(name: str) -> tuple[str, bool]:
    """A card's name for reading, such as ``10♥``, and whether it is red."""
    return name[:-1] + SUITS.get(name[-1:], name[-1:]), name[-1:] in "HD"
