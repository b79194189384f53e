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

from gtr_agent.chat_client import OPENAI_URL, EndpointOptions
from gtr_agent.endpoint import Endpoint
from gtr_agent.reply_cache import Message, Reply
from gtr_envs.episode import Request, Response
from leaderboard.agent_card import plain_name
from leaderboard.agents import AgentOptions
from leaderboard.cli_parts import note

MAX_NEW_TOKENS = 1024
"""Tokens after which an answer is cut off, unless the options say otherwise."""
KEPT = "finished episodes are kept, and the same command goes on from there"
SHARED = ("base_url", "concurrency", "retries", "timeout_s", "price_in", "price_out", "max_cost")
"""Options of an agent that an endpoint takes as they are."""
NO_COUNT = "the endpoint does not say how many tokens its answers take; they count as 0 in the results"
CUT_OFF = (
    "answers are cut off at {limit} tokens, which may leave no action in them; --max-new-tokens raises the limit, and "
    "cut_off in timing.jsonl counts them"
)


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
        self._notice, self._noted = notice, set[str]()
        asked = {name: getattr(options, name) for name in SHARED}
        settings = EndpointOptions(model, max_tokens=max_tokens, temperature=temperature, **asked)
        self._endpoint = Endpoint(settings, kept=KEPT)
        self.count_as_spent(options.spent_before)

    @property
    def usage(self) -> dict[str, float]:
        """What was asked and paid so far in this process, by the names of :class:`gtr_agent.endpoint.Usage`."""
        return asdict(self._endpoint.costs.usage)

    def count_as_spent(self, cost: float) -> None:
        """Let USD that earlier attempts at an evaluation cost count towards the cap."""
        self._endpoint.costs.count_as_spent(cost)

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of turns. Each turn's sampling seed comes from its own request's generator.

        Raises:
            EndpointError: the endpoint refuses, or gives no answer in all attempts.
            CostCapError: as much is spent as the options allow.
        """
        seeds = [int(request.rng.integers(2**31)) for request in requests] if self._sampled else None
        replies = self._endpoint.ask([[Message("user", request.prompt, request.frame)] for request in requests], seeds)
        costs = self._endpoint.costs
        if costs.tokens_unknown:
            self._note_once(NO_COUNT)
        if costs.usage.cut_off:
            self._note_once(CUT_OFF.format(limit=self.meta["max_new_tokens"]))
        return [as_response(request, reply) for request, reply in zip(requests, replies, strict=True)]

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._notice(text)

    def close(self) -> None:
        """End the endpoint's connections."""
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
