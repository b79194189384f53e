"""One request to an OpenAI-compatible chat endpoint, and what its answer or its failure means.

The answer is read from its text, not through the models of the ``openai`` package: servers differ in what they leave
out, and an answer that is no chat completion must be told from one with nothing in it.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from gtr_agent.reply_cache import Message
from gtr_envs.errors import EndpointError, MissingExtraError, SettingError

OPENAI_URL = "https://api.openai.com/v1"
PASSING = (408, 409, 425, 429)
"""Refusals that may pass, beside every status from 500 on."""
MENDS = {
    401: "set OPENAI_API_KEY to a key that is valid there",
    403: "set OPENAI_API_KEY to a key that may use this model",
    404: "check the model's name and the base URL, which as a rule ends in /v1",
    429: "add to the account's quota; asking again does not help",
}


@dataclass(frozen=True)
class Completion:
    """A chat completion: its text, empty if there is none, and its tokens; None where the endpoint does not say."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


class TryAgain(Exception):
    """A request failed in a way that may pass.

    Attributes:
        after: seconds that the endpoint asks to be left alone for.
        prompt_tokens: what it counted all the same.
        completion_tokens: what it counted all the same.
    """

    def __init__(self, what: str, after: float = 0.0, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        super().__init__(what)
        self.after = after
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens


class ChatClient:
    """The way to one model. It may be used from several threads.

    Args:
        model: the model's name there.
        base_url: the endpoint's address; empty for OPENAI_BASE_URL, or OpenAI's own. The key is OPENAI_API_KEY.
        timeout_s: seconds to wait for an answer.
        max_tokens: the longest reply.
        temperature: of the sampling.

    Raises:
        SettingError: the address is none, or it is OpenAI's and there is no key.
        MissingExtraError: the package ``openai`` is not installed.
    """

    def __init__(self, model: str, base_url: str, timeout_s: float, max_tokens: int, temperature: float) -> None:
        self.model, self.max_tokens, self.temperature = model, max_tokens, temperature
        self._key = os.environ.get("OPENAI_API_KEY", "")
        url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        parts = urlsplit(url)
        # Shown without a password or a query.
        self.shown_url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise SettingError(
                "the endpoint's base URL must be like http://localhost:8000/v1; it has no http:// or host"
            )
        if not self._key and url.rstrip("/") == OPENAI_URL:
            raise SettingError(
                f"no key for {OPENAI_URL}: set OPENAI_API_KEY, or the base URL (OPENAI_BASE_URL) of another endpoint, "
                "such as a local one"
            )
        try:
            openai = importlib.import_module("openai")
        except ImportError:
            raise MissingExtraError("endpoints need the package openai: pip install 'gtr-bench[api]'") from None
        # Its own retries would be seen by no count and stop at no cap. A local server takes any key.
        self._client = openai.OpenAI(api_key=self._key or "none", base_url=url, timeout=timeout_s, max_retries=0)
        self._limit_name = "max_tokens"
        self._takes_seed = True

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def send(self, conversation: Sequence[Message], seed: int | None = None) -> Completion:
        """One request.

        Args:
            conversation: the messages, of which the last is to be answered.
            seed: of the sampling; left out from then on where the endpoint takes none.

        Raises:
            TryAgain: it failed in a way that may pass.
            EndpointError: it failed in a way that will not.
        """
        import openai

        limit: dict[str, Any] = {self._limit_name: self.max_tokens}
        if seed is not None and self._takes_seed:
            limit["seed"] = seed
        try:
            response = self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=[as_openai(message) for message in conversation],
                temperature=self.temperature,
                **limit,
            )
            body = response.http_response.text
        except openai.APIStatusError as error:
            raise self._refusal(error, limit) from None
        except openai.APITimeoutError:
            raise TryAgain("no answer in time") from None
        except openai.APIConnectionError as error:
            raise TryAgain(f"no connection ({self._clean(str(error.__cause__ or error))})") from None
        return self._read(body)

    def _refusal(self, error: Any, limit: dict[str, Any]) -> Exception:
        """What an answer with an error status means."""
        status, said = error.status_code, self._clean(str(error))
        if status == 400 and "max_tokens" in limit and "max_completion_tokens" in str(error):
            self._limit_name = "max_completion_tokens"  # what OpenAI's newer models call it
            return TryAgain(said)
        if status in (400, 422) and "seed" in limit and "seed" in str(error):
            self._takes_seed = False
            return TryAgain(said)
        if (status in PASSING or status >= 500) and error.code != "insufficient_quota":
            return TryAgain(f"status {status}: {said}", retry_after(error.response.headers.get("retry-after", "")))
        mend = MENDS.get(status, "check that the model takes these settings, and pictures")
        return EndpointError(f"{self.shown_url} refuses model={self.model!r} with status {status}: {said}; {mend}")

    def _read(self, body: str) -> Completion:
        """Read a chat completion."""
        tokens: list[int | None] = [None, None]
        try:
            content = json.loads(body)
            usage = content.get("usage") or {}
            tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
            text = content["choices"][0]["message"].get("content")
            if text is not None and not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            # What it counted was paid for, whatever came.
            counted = [count or 0 for count in tokens]
            said = self._clean(body, 80)
            raise TryAgain(f"an answer that is no chat completion: {said!r}", 0.0, *counted) from None
        # JSON can spell halves of characters, which no file and no tokenizer takes.
        return Completion((text or "").encode("utf-8", "replace").decode("utf-8"), *tokens)

    def _clean(self, text: str, longest: int = 300) -> str:
        """A stranger's words, fit for a message: short, and without keys."""
        if self._key:
            text = text.replace(self._key, "(key)")
        text = re.sub(r"\bsk-[\w*.-]+", "(key)", text)
        return " ".join(text.split())[:longest]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_openai(message: Message) -> dict[str, Any]:
    """A message as an endpoint takes it, its picture as a PNG in a data URL before the text."""
    if message.picture is None:
        return {"role": message.role, "content": message.text}
    file = io.BytesIO()
    Image.fromarray(message.picture).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": message.text}]
    return {"role": message.role, "content": parts}


def retry_after(value: str) -> float:
    """The seconds that a Retry-After header asks for, be it a number or a date; 0 if it says neither.

    Source: https://www.rfc-editor.org/rfc/rfc9110#name-retry-after
    """
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
