"""What is shown to people of a model's text and of numbers, in pages and terminals. Escaping is the template's work."""

from __future__ import annotations

import hashlib
import re

MAX_TEXT = 1500
"""Characters of one text that a page shows."""

SUITS = {"H": "♥", "D": "♦", "S": "♠", "C": "♣"}


def readable(text: str, limit: int = MAX_TEXT) -> str:
    """A model's text fit to be shown: control characters replaced, cut to a length that can be read. Not escaped."""
    shown = "".join(c if c in "\n\t" or (c.isprintable() and not 0xD800 <= ord(c) < 0xE000) else "\ufffd" for c in text)
    return shown if len(shown) <= limit else f"{shown[:limit]} … ({len(shown) - limit} more characters)"


def digest_of(text: str) -> str:
    """Eight letters that tell a text from others, for file names."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]


def file_name(text: str, limit: int = 120) -> str:
    """A text as a file's name: it names no folder, hides no file, and has no letter that a shell or a page minds."""
    return re.sub(r"[^A-Za-z0-9._+@-]+", "-", text).strip(".-")[:limit]


def signed(value: float) -> str:
    """A reward with its sign, with a true minus."""
    return f"{value:+g}".replace("-", "−") if value else "0"


def card_name(name: str) -> tuple[str, bool]:
    """A card's name for reading, such as ``10♥``, and whether it is red."""
    return name[:-1] + SUITS.get(name[-1:], name[-1:]), name[-1:] in "HD"
