"""What is sent to an OpenAI-compatible chat endpoint, and what its answer or its refusal means.

The ``openai`` client sends, waits and tries again. Answers are read from their text, not through that package's models:
servers differ in what they leave out, and an answer that is no chat completion must be told from an empty one.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from gtr_agent.reply_cache import Message
from gtr_envs.errors import EndpointError, MissingExtraError, SettingError

OPENAI_URL = "https://api.openai.com/v1"
NO_COMPLETION = 599
"""The status given to an answer that is no chat completion: no server's own, and one that the client tries again."""
NO_QUOTA = "insufficient_quota"
"""What OpenAI says with status 429 when waiting does not help."""
FIXES = {
    401: "set OPENAI_API_KEY to a key that is valid there",
    403: "set OPENAI_API_KEY to a key that may use this model",
    404: "check the model's name and the base URL, which as a rule ends in /v1",
    429: "add to the account's quota; asking again does not help",
}


@dataclass(frozen=True)
class EndpointOptions:
    """Which model is asked, how, and for how much.

    Attributes:
        model: the model's name there.
        base_url: the address; empty for OPENAI_BASE_URL, or OpenAI's own. The key is OPENAI_API_KEY.
        cache: folder of the replies, with which a conversation is asked once, at any temperature; None for none.
        offline: answer from the cache alone.
        concurrency: calls at a time.
        retries: further attempts after a failed one.
        timeout_s: seconds to wait for an answer.
        max_tokens: the longest reply.
        temperature: of the sampling.
        price_in, price_out: USD for a million tokens of questions, and of answers.
        max_cost: USD at which no further call is begun, counting what the replies in the cache cost; 0 for no cap.
            Calls under way are finished, so it can be passed by the cost of ``concurrency`` calls.

    Raises:
        SettingError: settings that do not go together.
    """

    model: str
    base_url: str = ""
    cache: Path | None = None
    offline: bool = False
    concurrency: int = 8
    retries: int = 5
    timeout_s: float = 60.0
    max_tokens: int = 512
    temperature: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0
    max_cost: float = 0.0

    def __post_init__(self) -> None:
        if self.offline and self.cache is None:
            raise SettingError("offline=true answers from the cache; give the cache's folder too")
        if self.max_cost and not (self.price_in or self.price_out):
            raise SettingError(f"max_cost={self.max_cost} needs price_in and price_out, in USD for a million tokens")


@dataclass(frozen=True)
class Completion:
    """An endpoint's answer.

    Attributes:
        text: its words, empty if there are none; None if the answer is no chat completion.
        prompt_tokens, completion_tokens: as the endpoint counted them; 0 where it did not.
        is_counted: whether it counted the latter.
        cut_off: whether the limit on the reply's length ended it.
    """

    text: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_counted: bool = False
    cut_off: bool = False


def connect(options: EndpointOptions, on_request: Callable[[Any], None], on_response: Callable[[Any], None]) -> Any:
    """The ``openai`` client, with hooks that see every attempt.

    Raises:
        SettingError: the address is none, or it is OpenAI's and there is no key.
        MissingExtraError: the package ``openai`` is not installed.
    """
    url, key = _address(options), os.environ.get("OPENAI_API_KEY", "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SettingError("the endpoint's base URL must be like http://localhost:8000/v1; it has no http:// or host")
    if not key and url.rstrip("/") == OPENAI_URL:
        raise SettingError(
            f"no key for {OPENAI_URL}: set OPENAI_API_KEY, or the base URL (OPENAI_BASE_URL) of another endpoint, "
            "such as a local one"
        )
    try:
        openai = importlib.import_module("openai")
    except ImportError:
        raise MissingExtraError("endpoints need the package openai: pip install 'gtr-bench[api]'") from None
    http = openai.DefaultHttpxClient(event_hooks={"request": [on_request], "response": [on_response]})
    limits = {"timeout": options.timeout_s, "max_retries": options.retries}
    return openai.OpenAI(api_key=key or "none", base_url=url, http_client=http, **limits)  # local servers take any key


def as_openai(message: Message) -> dict[str, Any]:
    """A message as an endpoint takes it, its picture as a PNG in a data URL before the text."""
    if message.picture is None:
        return {"role": message.role, "content": message.text}
    file = io.BytesIO()
    Image.fromarray(message.picture).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": message.text}]
    return {"role": message.role, "content": parts}


def read_completion(body: str) -> Completion:
    """Read an answer. What it counted was paid for, be it a chat completion or not."""
    none = Completion(None)
    try:
        content = json.loads(body)
        usage = content.get("usage") or {}
        asked, answered = (_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        none = Completion(None, asked or 0, answered or 0, answered is not None)
        choice = content["choices"][0]
        text = choice["message"].get("content")
        # JSON can spell halves of characters, which no file and no tokenizer takes.
        text = ("" if text is None else text).encode("utf-8", "replace").decode("utf-8")
        return replace(none, text=text, cut_off=choice.get("finish_reason") == "length")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return none


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def refused_parameter(error: Any, sent: Container[str]) -> str | None:
    """The parameter, of those sent, that an endpoint does not take under this name; None if it refuses something else.

    OpenAI's newer models call ``max_tokens`` ``max_completion_tokens``; some servers take no ``seed``.
    """
    status, said = getattr(error, "status_code", None), str(error)
    if status in (400, 422) and "max_tokens" in sent and "max_completion_tokens" in said:
        return "max_tokens"
    return "seed" if status in (400, 422) and "seed" in sent and "seed" in said else None


def explain(error: Any, options: EndpointOptions) -> EndpointError:
    """The named error for what the ``openai`` client raised after its last attempt, with what to do."""
    import openai

    parts = urlsplit(_address(options))
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # without a password or a query
    attempts = int(error.request.headers.get("x-stainless-retry-count", 0)) + 1
    fix = "see that it runs and can be reached, or raise retries or timeout_s, and run again"
    status = getattr(error, "status_code", None)
    if status is None:
        cause = error.__cause__ or error
        said = (
            "no answer in time"
            if isinstance(error, openai.APITimeoutError)
            else f"no connection ({_clean(str(cause))})"
        )
    elif status == NO_COMPLETION:
        said = f"an answer that is no chat completion: {_clean(error.response.text, 80)!r}"
    elif (status in (408, 409, 429) or status >= 500) and NO_QUOTA not in error.response.text:
        said = f"status {status}: {_clean(str(error))}"
        wait = error.response.headers.get("retry-after")
        if wait and attempts <= options.retries:  # longer than the client waits
            fix = f"it asks to be left alone (Retry-After: {_clean(wait)}), so run again after that time"
    else:
        fix = FIXES.get(status, "check that the model takes these settings, and pictures")
        said = f"with status {status}: {_clean(str(error))}; {fix}"
        return EndpointError(f"{url} refuses model={options.model!r} {said}")
    return EndpointError(f"{url} gave no reply of {options.model!r} in {attempts} attempts, at last: {said}; {fix}")


def _address(options: EndpointOptions) -> str:
    return options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL


def _clean(text: str, longest: int = 300) -> str:
    """A stranger's words, fit for a message: short, and without keys."""
    key = os.environ.get("OPENAI_API_KEY")
    if key:
        text = text.replace(key, "(key)")
    return " ".join(re.sub(r"\bsk-[\w*.-]+", "(key)", text).split())[:longest]
