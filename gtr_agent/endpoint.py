"""Any OpenAI-compatible chat endpoint, asked so that nothing is lost and nothing is paid for twice.

What may pass is tried again after growing pauses: rate limits, faults of the server, timeouts, dropped connections and
answers that are no chat completion. What will not pass ends the asking at once with a named error. Every reply is on
disk before it is handed out, so after any error the same questions can be asked again and only the rest is paid for.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from gtr_agent.chat_client import ChatClient, Completion, TryAgain
from gtr_agent.reply_cache import Message, Reply, ReplyCache, conversation_key
from gtr_envs.errors import CostCapError, EndpointError, GtrError, MissingReplyError, SettingError

FIRST_PAUSE_S = 0.5
"""The pause before the second attempt; each further one is twice as long, up to :data:`LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
"""An endpoint that asks to be left alone for longer ends the run instead of holding it up."""


@dataclass(frozen=True)
class Usage:
    """What was asked and paid in this process.

    Attributes:
        calls: requests that were sent.
        failed: those of them that brought no reply.
        prompt_tokens: tokens of the questions, as far as the endpoint said.
        completion_tokens: tokens of the answers, as far as the endpoint said.
        cost: USD for them.
    """

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    @property
    def replies(self) -> int:
        """Replies that were paid for."""
        return self.calls - self.failed


class _Abandoned(Exception):
    """This question was given up because another one failed for good."""


class Endpoint:
    """A model behind an OpenAI-compatible chat endpoint. It may be used from several threads.

    Args:
        model: the model's name there.
        base_url: the endpoint's address; empty for OPENAI_BASE_URL, or OpenAI's own. The key is OPENAI_API_KEY; local
            servers need none.
        cache: folder of the replies; None keeps none, and then each conversation is a call of its own. With it, the
            same conversation is asked once, at any temperature.
        offline: answer from the cache alone.
        concurrency: calls at a time.
        retries: further attempts after a failed call.
        timeout_s: seconds to wait for an answer.
        max_tokens: the longest reply.
        temperature: of the sampling.
        price_in: USD for a million prompt tokens.
        price_out: USD for a million answer tokens.
        max_cost: USD at which no further call is begun, counting what the replies in the cache cost; 0 for no cap.
            Calls that are under way then are finished, so it can be passed by the cost of ``concurrency`` calls.
        seed: of the pauses' jitter.
        processes: how many processes of a run ask, all with this cap: each may spend its share of what is left.
        spent_before: USD that count as spent already, beside those in the cache.
        kept: what an error says of replies that were paid for, where there is no cache.

    Raises:
        SettingError: settings that do not go together, no address, or no key for OpenAI's own.
        MissingExtraError: the package ``openai`` is not installed.
    """

    def __init__(
        self,
        model: str,
        base_url: str = "",
        cache: Path | None = None,
        offline: bool = False,
        concurrency: int = 8,
        retries: int = 5,
        timeout_s: float = 60.0,
        max_tokens: int = 512,
        temperature: float = 0.0,
        price_in: float = 0.0,
        price_out: float = 0.0,
        max_cost: float = 0.0,
        seed: int = 0,
        processes: int = 1,
        spent_before: float = 0.0,
        kept: str = "nothing was kept, for want of a cache",
    ) -> None:
        if offline and cache is None:
            raise SettingError("offline=true answers from the cache; give the cache's folder too")
        if max_cost and not (price_in or price_out):
            raise SettingError(f"max_cost={max_cost} needs price_in and price_out, in USD for a million tokens")
        self.model, self.max_tokens, self.temperature = model, max_tokens, temperature
        self.price_in, self.price_out, self.max_cost = price_in, price_out, max_cost
        self.retries = retries
        self.seed = seed
        self.cache = ReplyCache(cache) if cache is not None else None
        self._client = None if offline else ChatClient(model, base_url, timeout_s, max_tokens, temperature)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="endpoint")
        self._lock = threading.Lock()
        self._key_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._usage = Usage()
        self._processes = processes
        self._spent_before = spent_before
        if self.cache is not None and (price_in or price_out):
            self._spent_before += self.cache.spent()
        self._kept = kept
        self._tokens_unknown = False
        self._resume_at = 0.0

    @property
    def usage(self) -> Usage:
        """What was asked and paid so far in this process."""
        with self._lock:
            return self._usage

    @property
    def spent(self) -> float:
        """USD spent so far on all that is in the cache; of what was spent before, this process's share."""
        return self._spent_before / self._processes + self.usage.cost

    @property
    def tokens_unknown(self) -> bool:
        """Whether the endpoint left out how many tokens an answer took."""
        with self._lock:
            return self._tokens_unknown

    def count_as_spent(self, cost: float) -> None:
        """Let USD that were spent elsewhere count towards the cap."""
        with self._lock:
            self._spent_before += cost

    def close(self) -> None:
        """End the threads and the connections."""
        self._pool.shutdown()
        if self._client is not None:
            self._client.close()

    def ask(self, conversations: Sequence[Sequence[Message]], seeds: Sequence[int | None] | None = None) -> list[Reply]:
        """Ask for the next message of each conversation, several at a time.

        Args:
            conversations: each a list of messages, of which the last is to be answered.
            seeds: of each reply's sampling, where the endpoint takes one; only without a cache, which knows of none.

        Returns:
            the replies, in the order of the conversations.

        Raises:
            EndpointError: it refuses, or does not answer in ``1 + retries`` attempts.
            CostCapError: ``max_cost`` is reached.
            MissingReplyError: offline, and replies are not in the cache.
        """
        if seeds is not None and self.cache is not None:
            raise SettingError("the cache files a reply by its question alone; give either seeds or a cache")
        keys = [conversation_key(self.model, asked, self.temperature, self.max_tokens) for asked in conversations]
        # Without a cache each conversation has a name of its own, so that none stands for another.
        names = keys if self.cache is not None else [f"{index} {key}" for index, key in enumerate(keys)]
        questions = dict(zip(names, zip(keys, conversations, seeds or [None] * len(keys), strict=True), strict=True))
        answers: dict[str, Reply] = {}
        for name, (key, _, _) in questions.items():
            known = self.cache.read(key) if self.cache is not None else None
            if known is not None:
                answers[name] = known
        answers |= self._ask_missing({name: asked for name, asked in questions.items() if name not in answers})
        replies: list[Reply] = []
        handed_out: set[str] = set()
        for name in names:
            # A question that was put twice was paid for once.
            again = name in handed_out
            replies.append(replace(answers[name], cached=True, cost=0.0) if again else answers[name])
            handed_out.add(name)
        return replies

    def _ask_missing(self, questions: dict[str, tuple[str, Sequence[Message], int | None]]) -> dict[str, Reply]:
        """The replies to these; if one fails for good, calls under way are finished and kept before its error goes."""
        if questions and self._client is None:
            assert self.cache is not None
            raise MissingReplyError(
                f"{len(questions)} replies of {self.model!r} are not in {self.cache.folder}, and offline=true asks no "
                "endpoint; give the cache of the run that is repeated and its settings, or set offline=false"
            )
        stop = threading.Event()
        futures = {name: self._pool.submit(self._answer, *question, stop) for name, question in questions.items()}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            wait(futures.values())
        problems = [problem for future in futures.values() if (problem := future.exception()) is not None]
        if problems:
            # Others were given up only because of the first one.
            self._raise(next(problem for problem in problems if not isinstance(problem, _Abandoned)), futures)
        return {name: future.result() for name, future in futures.items()}

    def _raise(self, problem: BaseException, futures: dict[str, Future[Reply]]) -> NoReturn:
        """Raise what ended the asking, with word of where the other replies are."""
        if not isinstance(problem, GtrError):
            raise problem
        arrived = sum(future.exception() is None for future in futures.values())
        kept = self._kept
        if self.cache is not None:
            kept = f"all that was paid for is in {self.cache.folder} and is not asked for again"
        raise type(problem)(f"{problem}. {arrived} of {len(futures)} replies had arrived; {kept}") from None

    def _answer(self, key: str, conversation: Sequence[Message], seed: int | None, stop: threading.Event) -> Reply:
        """One reply, asked for once even if another thread wants the same."""
        if self.cache is None:
            return self._call(key, conversation, seed, stop)
        with self._lock:
            key_lock = self._key_locks[key]
        with key_lock:
            known = self.cache.read(key)
            if known is not None:
                return known
            reply = self._call(key, conversation, seed, stop)
            self.cache.write(key, self.model, reply)
            return reply

    def _call(self, key: str, conversation: Sequence[Message], seed: int | None, stop: threading.Event) -> Reply:
        """One reply from the endpoint, with as many attempts as there are."""
        assert self._client is not None
        rng = np.random.default_rng([self.seed, int(key[:12], 16)])
        pause, problem = 0.0, ""
        for attempt in range(self.retries + 1):
            self._hold(pause, float(rng.random()), stop)
            self._check_cap()
            try:
                return self._count(self._client.send(conversation, seed))
            except TryAgain as failure:
                self._count(failure)
                self._keep_off(failure.after)
                problem = str(failure)
            except EndpointError:
                self._count(TryAgain(""))
                raise
            pause = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S) * (0.5 + 0.5 * float(rng.random()))
        raise EndpointError(
            f"{self._client.shown_url} gave no reply of {self.model!r} in {self.retries + 1} attempts, at last: "
            f"{problem}; see that it runs and can be reached, or raise retries or timeout_s, and run again"
        )

    def _hold(self, pause: float, jitter: float, stop: threading.Event) -> None:
        """Wait before an attempt: its own pause, and as long as the endpoint wants to be left alone by all."""
        with self._lock:
            left = self._resume_at - time.monotonic()
        if left > 0:
            pause = max(pause, left + jitter * FIRST_PAUSE_S)
        if stop.is_set() or (pause > 0 and stop.wait(pause)):
            raise _Abandoned

    def _keep_off(self, seconds: float) -> None:
        """Note how long the endpoint wants to be left alone."""
        if seconds > LONGEST_RETRY_AFTER_S:
            raise EndpointError(f"the endpoint asks to be left alone for {seconds:.0f} s; run again after that time")
        with self._lock:
            self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def _check_cap(self) -> None:
        """Begin no call at or above the cap."""
        if not self.max_cost:
            return
        with self._lock:
            paid, unknown = self._usage.cost, self._tokens_unknown
        # What the others spend is not known here: as much as this one, each at the most.
        spent = self._spent_before + paid * self._processes
        if spent >= self.max_cost * (1 - 1e-9):  # ten times 0.1 are a little less than 1
            shares = f" (by each of {self._processes} processes up to its share)" if self._processes > 1 else ""
            raise CostCapError(
                f"{self._spent_before + paid:.4f} USD are spent on replies of {self.model!r}, {paid:.4f} of them "
                f"now{shares}, and max_cost={self.max_cost}; to go on, raise max_cost and run or resume again"
            )
        if unknown:
            raise EndpointError(
                f"the endpoint does not say how many tokens it takes, so max_cost={self.max_cost} cannot be kept; set "
                "max_cost=0 to go on without a cap"
            )

    def _count(self, came: Completion | TryAgain) -> Reply:
        """Count a request, whatever came of it, and make a reply of a completion."""
        tokens_in, tokens_out = came.prompt_tokens or 0, came.completion_tokens or 0
        cost = (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6
        failed = isinstance(came, TryAgain)
        with self._lock:
            old = self._usage
            self._usage = Usage(
                old.calls + 1,
                old.failed + failed,
                old.prompt_tokens + tokens_in,
                old.completion_tokens + tokens_out,
                old.cost + cost,
            )
            self._tokens_unknown |= not failed and came.completion_tokens is None
            if failed and cost and self.cache is not None:
                self.cache.note_failure(cost)
        return Reply("" if isinstance(came, TryAgain) else came.text, tokens_in, tokens_out, cost=cost)
