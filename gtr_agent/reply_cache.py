"""Replies of a chat endpoint on disk: what was paid for is never paid for again, and a run can be repeated offline.

One JSON file for each question, named by its key: the SHA-256 of the model, the messages with their pictures, the
temperature and the longest reply. Neither the address that was asked nor any credential is part of the key or the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gtr_envs.storage import append_line, write_json

FAILURES = "failures.jsonl"
"""What requests cost that brought no reply: a line for each."""
VERSION = 1
"""Of the files' form; a file of another version counts as damaged."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        text: what it says.
        picture: (height, width, 3) uint8, shown before the text; None for none.
    """

    role: str
    text: str
    picture: np.ndarray | None = None


@dataclass(frozen=True)
class Reply:
    """What a model said.

    Attributes:
        text: its words, empty if it said nothing.
        prompt_tokens, completion_tokens: of the question and of the answer, as the endpoint counted them.
        cached: whether it was there already, so that nothing was paid for it this time.
        cost: USD paid for it this time.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: bool = False
    cost: float = 0.0


def conversation_key(model: str, messages: Sequence[Message], temperature: float, max_tokens: int) -> str:
    """What a question is filed under, 64 hexadecimal digits.

    A picture counts by its pixels, not by its PNG file, which another version of the library may pack otherwise.
    """
    asked = {
        "model": model,
        "messages": [[message.role, message.text, _picture_key(message.picture)] for message in messages],
        "temperature": float(temperature),
        "max_tokens": max_tokens,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _picture_key(picture: np.ndarray | None) -> str | None:
    if picture is None:
        return None
    shape = f"{picture.dtype}{picture.shape}".encode()
    return hashlib.sha256(shape + np.ascontiguousarray(picture).tobytes()).hexdigest()


class ReplyCache:
    """A folder of replies.

    Args:
        folder: where they are; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> Reply | None:
        """The reply of this key, or None if there is none that is whole."""
        entry = self._entry(self.folder / f"{key}.json")
        if entry is None or entry["key"] != key:
            return None
        return Reply(entry["text"], entry["prompt_tokens"], entry["completion_tokens"], cached=True)

    def write(self, key: str, model: str, reply: Reply) -> None:
        """Keep a reply, whole or not at all; a damaged one of the same key is replaced."""
        entry = {"version": VERSION, "key": key, "model": model, **asdict(reply)}
        del entry["cached"]
        write_json(self.folder / f"{key}.json", {**entry, "check": _check(entry)})

    def note_failure(self, cost: float) -> None:
        """Keep in mind what a request cost that brought no reply, in USD."""
        self.folder.mkdir(parents=True, exist_ok=True)
        append_line(self.folder / FAILURES, json.dumps({"cost": cost}))

    def spent(self) -> float:
        """What all replies in the folder cost when they were asked for, and what failed requests cost, in USD."""
        entries = (self._entry(path) for path in sorted(self.folder.glob("*.json")))
        costs = [entry["cost"] for entry in entries if entry is not None]
        path = self.folder / FAILURES
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            with suppress(ValueError, KeyError, TypeError):  # a line that was cut off when the process was killed
                costs.append(float(json.loads(line)["cost"]))
        return math.fsum(costs)

    @staticmethod
    def _entry(path: Path) -> dict[str, Any] | None:
        """A file's content, or None if it is missing or not as it was written."""
        try:
            entry = json.loads(path.read_text("utf-8"))
            check = entry.pop("check")
            return entry if entry["version"] == VERSION and check == _check(entry) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def _check(entry: dict[str, Any]) -> str:
    """The digest that tells a whole file from a damaged one."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
