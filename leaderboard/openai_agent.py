"""An agent behind an OpenAI-compatible endpoint: it sees what a checkpoint sees, and is paid for by the token.

A turn is one user message, the picture as a PNG and the prompt, as in :func:`gtr_agent.layout.encode_prompts`; the
server's chat template does the rest. An answer that says nothing is an invalid answer. An endpoint that fails is no
answer at all: the evaluation ends with a named error, finished episodes are kept, and the same command resumes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from gtr_agent.chat_client import OPENAI_URL
from gtr_agent.endpoint import Endpoint
from gtr_agent.reply_cache import Message, Reply
from gtr_envs.episode import Request, Response
from leaderboard.agent_card import plain_name
from leaderboard.agents import AgentOptions
from leaderboard.cli_parts import note

MAX_NEW_TOKENS = 1024
"""Tokens after which an answer is cut off, unless the options say otherwise."""
KEPT = "finished episodes are kept, and the same command goes on from there"
NO_COUNT = "the endpoint does not say how many tokens its answers take; they count as 0 in the results"


class OpenAIPolicy:
    """A model behind an endpoint that plays; see :class:`gtr_envs.episode.Policy`.

    Args:
        model: the model's name there.
        options: sampling, calls at a time, attempts, prices and the cap on the cost.
        notice: is told what a user should know, once.

    Attributes:
        batch_limit: as many episodes are played side by side as there may be calls at a time; more would gain nothing,
            and all unfinished ones are paid for again after an interruption.

    Raises:
        SettingError: the address is none, or it is OpenAI's and there is no key.
        MissingExtraError: the package ``openai`` is not installed.
    """

    def __init__(self, model: str, options: AgentOptions, notice: Callable[[str], None] = note) -> None:
        temperature = 0.0 if options.greedy else options.temperature or 1.0
        max_tokens = options.max_new_tokens or MAX_NEW_TOKENS
        self.name = plain_name(model)
        self.batch_limit = options.concurrency
        self.meta: dict[str, Any] = {
            "method": "api",
            "base_model": model,
            "temperature": temperature,
            "max_new_tokens": max_tokens,
            "fingerprint": endpoint_fingerprint(model, options.base_url),
        }
        self._sampled = temperature > 0
        self._notice: Callable[[str], None] | None = notice
        self._endpoint = Endpoint(
            model,
            options.base_url,
            concurrency=options.concurrency,
            retries=options.retries,
            timeout_s=options.timeout_s,
            max_tokens=max_tokens,
            temperature=temperature,
            price_in=options.price_in,
            price_out=options.price_out,
            max_cost=options.max_cost,
            spent_before=options.spent_before,
            kept=KEPT,
        )

    @property
    def usage(self) -> dict[str, float]:
        """What was asked and paid so far in this process: ``calls``, ``failed``, tokens and ``cost`` in USD."""
        return asdict(self._endpoint.usage)

    def count_as_spent(self, cost: float) -> None:
        """Let USD that earlier attempts at an evaluation cost count towards the cap."""
        self._endpoint.count_as_spent(cost)

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of turns. Each turn's sampling seed comes from its own request's generator.

        Raises:
            EndpointError: the endpoint refuses, or gives no answer in all attempts.
            CostCapError: as much is spent as the options allow.
        """
        seeds = [int(request.rng.integers(2**31)) for request in requests] if self._sampled else None
        replies = self._endpoint.ask([[Message("user", request.prompt, request.frame)] for request in requests], seeds)
        if self._endpoint.tokens_unknown and self._notice is not None:
            self._notice(NO_COUNT)
            self._notice = None
        return [as_response(request, reply) for request, reply in zip(requests, replies, strict=True)]

    def close(self) -> None:
        """End the endpoint's threads and connections."""
        self._endpoint.close()


def endpoint_fingerprint(model: str, base_url: str = "") -> str:
    """A digest of a model's name and its endpoint's host: all that is known of weights that nobody can look at."""
    host = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL).hostname or ""
    return hashlib.sha256(f"{model}@{host}".encode()).hexdigest()[:16]


def as_response(request: Request, reply: Reply) -> Response:
    """An endpoint's reply as an answer.

    Endpoints count tokens, and do not say which are which: the thought gets its share of the text's characters.
    """
    answer = request.task.read(reply.text, request.info)
    thought = sum(end - start for start, end in answer.thought_spans)
    tokens = reply.completion_tokens
    return Response(reply.text, tokens, round(tokens * thought / len(reply.text)) if reply.text else tokens)
