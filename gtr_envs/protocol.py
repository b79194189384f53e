"""What an agent is asked and how its answer is read.

An answer is one JSON object whose last key is the action, for Points24::

    {"cards": [7, 6, 2, 3], "formula": "7 * 6", "thoughts": "...", "action": "/"}

:func:`read_answer` reads it strictly first and repairs it second; the status says which, so that a repaired answer is
counted and never hidden. It also says which characters are the action, so that a trainer can weigh and guide thought
and action apart (RL4VLM, https://arxiv.org/abs/2405.10292; GTR-Turbo, https://arxiv.org/abs/2512.13043).

Departure from the released GTR code: an action is matched whole, never by substring, and the thought is the very text
that the agent wrote, never a re-serialised one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MAX_ANSWER_LENGTH = 20_000
"""Characters of an answer that are read; what lies beyond makes the answer invalid rather than slow."""


class AnswerStatus(StrEnum):
    """How an answer could be read."""

    STRICT = "strict"
    REPAIRED = "repaired"
    INVALID = "invalid"


@dataclass(frozen=True)
class Answer:
    """One answer, read.

    Attributes:
        text: the answer as the agent wrote it.
        status: whether it was read strictly, after repair, or not at all.
        action: the action's text exactly as the task spells it; None if the answer is invalid.
        thoughts: the text under ``"thoughts"``, empty if there is none.
        fields: everything that could be read from the object.
        action_span: the characters ``[start, end)`` of the action: from the quote that opens its key to the end of its
            value, or to the end of the text if no other key follows. None if the answer is invalid.
    """

    text: str
    status: AnswerStatus
    action: str | None = None
    thoughts: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)
    action_span: tuple[int, int] | None = None

    @property
    def thought_spans(self) -> tuple[tuple[int, int], ...]:
        """The characters that are not the action, as ``[start, end)`` pairs; all of an invalid answer's text."""
        if self.action_span is None:
            return ((0, len(self.text)),) if self.text else ()
        start, end = self.action_span
        return tuple(span for span in ((0, start), (end, len(self.text))) if span[0] < span[1])


@dataclass(frozen=True)
class _Entry:
    """One key of the answer's object: its value and where key and value stand in the text."""

    key: str
    value: Any
    start: int
    end: int


class _Unreadable(ValueError):
    """The text stops being an object here; ``entries`` holds what came before."""

    def __init__(self, entries: list[_Entry]) -> None:
        super().__init__("not a JSON object")
        self.entries = entries


_STRICT = json.JSONDecoder()
_LENIENT = json.JSONDecoder(strict=False)
_SPACE = re.compile(r"\s*")
_BARE_KEY = re.compile(r"\w+(?=\s*:)")
_BARE = re.compile(r"[^\s,{}\[\]\"']+(?: +[^\s,{}\[\]\"']+)*")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _read_value(text: str, at: int, lenient: bool) -> tuple[Any, int]:
    """The JSON value that starts at ``at`` and the place behind it; lenient: also 'single quotes' and bare words."""
    try:
        value, end = (_LENIENT if lenient else _STRICT).raw_decode(text, at)
        return value, end
    except (ValueError, RecursionError):
        if not lenient:
            raise ValueError("no JSON value") from None
    for pattern, group in ((_QUOTED, 1), (_BARE, 0)):
        match = pattern.match(text, at)
        if match:
            return match.group(group), match.end()
    raise ValueError("no value")


def _read_entries(text: str, at: int, lenient: bool) -> tuple[list[_Entry], int]:
    """Walk the object that opens at ``at``.

    Returns:
        its entries, and the place behind its closing brace.

    Raises:
        _Unreadable: where it stops being an object; the error carries the entries read so far.
    """
    entries: list[_Entry] = []
    at = _skip(text, at + 1)
    try:
        while text[at : at + 1] != "}":
            bare = _BARE_KEY.match(text, at) if lenient else None
            key, end = (bare.group(), bare.end()) if bare else _read_value(text, at, lenient)
            colon = _skip(text, end)
            if not isinstance(key, str) or text[colon : colon + 1] != ":":
                raise ValueError("no key")
            value, value_end = _read_value(text, _skip(text, colon + 1), lenient)
            entries.append(_Entry(key, value, at, value_end))
            at = _skip(text, value_end)
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
                if text[at : at + 1] == "}" and not lenient:
                    raise ValueError("trailing comma")
            elif text[at : at + 1] != "}":
                raise ValueError("no comma")
    except ValueError:
        raise _Unreadable(entries) from None
    return entries, at + 1


def _strict_entries(text: str, keys: Sequence[str]) -> list[_Entry] | None:
    """The entries if the whole text is one JSON object with each key once and all the wanted keys; else None."""
    start = _skip(text, 0)
    if text[start : start + 1] != "{":
        return None
    try:
        entries, end = _read_entries(text, start, lenient=False)
    except _Unreadable:
        return None
    names = [entry.key for entry in entries]
    if text[end:].strip() or len(set(names)) != len(names) or not set(keys) <= set(names):
        return None
    return entries


def _repaired_entries(text: str) -> list[_Entry]:
    """The entries of the first object in the text that has an action, however untidy."""
    start = text.find("{")
    attempts = 0
    while start >= 0 and attempts < 8:
        try:
            entries, _ = _read_entries(text, start, lenient=True)
        except _Unreadable as stop:
            entries = stop.entries
        if any(entry.key == "action" for entry in entries):
            return entries
        start = text.find("{", start + 1)
        attempts += 1
    return []


def _tidy(action: Any) -> str:
    """An action's text with case and runs of spaces evened out, for matching a repaired answer."""
    if isinstance(action, bool) or not isinstance(action, (str, int)):
        return ""
    return " ".join(str(action).split()).casefold()


def read_answer(
    text: str, allowed: Sequence[str], keys: Sequence[str] = ("thoughts", "action"), free: bool = False
) -> Answer:
    """Read an agent's answer.

    Strict means: the text is exactly one JSON object, no key twice, all ``keys`` there, and the action a string that
    equals one of ``allowed``, or any that is not empty where actions are ``free``. Repaired means: an object with an
    action could be found in spite of prose or code fences around it, single quotes, bare words, a missing end, a
    trailing comma, line breaks in strings, missing keys or other case and spacing of the action. Anything else is
    invalid.

    Args:
        text: the answer.
        allowed: the texts of the actions that exist; an action must equal one of them whole.
        keys: the keys that a strict answer must have.
        free: take any action that is a text; the environment judges those that are not among ``allowed``.

    Returns:
        the answer with its status; never raises on any text.
    """
    if len(text) > MAX_ANSWER_LENGTH:
        return Answer(text, AnswerStatus.INVALID)
    strict = _strict_entries(text, keys)
    entries = strict if strict is not None else _repaired_entries(text)
    value = next((entry.value for entry in entries if entry.key == "action"), None)
    known = isinstance(value, str) and (value in allowed or (free and bool(value.strip())))
    status, action = AnswerStatus.STRICT, value if known else None
    if strict is None or action is None:
        tidy = _tidy(value)
        status, action = AnswerStatus.REPAIRED, {_tidy(name): name for name in allowed}.get(tidy)
        if action is None and free and tidy:
            action = " ".join(str(value).split())
    fields = {entry.key: entry.value for entry in reversed(entries)}
    thoughts = fields.get("thoughts", "")
    thoughts = thoughts if isinstance(thoughts, str) else json.dumps(thoughts)
    if action is None:
        return Answer(text, AnswerStatus.INVALID, thoughts=thoughts, fields=fields)
    entry = next(entry for entry in entries if entry.key == "action")
    is_last = entry.start == max(other.start for other in entries)
    span = (entry.start, len(text) if is_last else entry.end)
    return Answer(text, status, action, thoughts, fields, span)


def write_answer(fields: Mapping[str, Any]) -> str:
    """The canonical text of an answer: one line of JSON, keys in the order given, the action last by convention."""
    return json.dumps(dict(fields), ensure_ascii=False)


def build_messages(prompt: str, history: Sequence[tuple[str, str]] = ()) -> list[dict[str, Any]]:
    """The chat messages of one turn, for a Hugging Face processor's ``apply_chat_template``.

    Args:
        prompt: the text that goes with this turn's picture.
        history: (prompt, answer) pairs of earlier turns to repeat as text; the paper keeps none.

    Returns:
        messages; the last one holds an image part, to be filled with the frame, and the text part.
    """
    messages: list[dict[str, Any]] = []
    for earlier_prompt, earlier_answer in history:
        messages.append({"role": "user", "content": [{"type": "text", "text": earlier_prompt}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": earlier_answer}]})
    messages.append({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]})
    return messages
