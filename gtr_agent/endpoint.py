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
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from gtr_agent.chat_client import ChatClient, Completion, TryAgain
from gtr_agent.ledger import Ledger, Usage
from gtr_agent.reply_cache import Message, Reply, ReplyCache, conversation_key
from gtr_envs.errors import EndpointError, GtrError, MissingReplyError, SettingError

FIRST_PAUSE_S = 0.5
"""The pause before the second attempt; each further one is twice as long, up to :data:`LONGEST_PAUSE_S`."""
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
"""An endpoint that asks to be left alone for longer ends the run instead of holding it up."""


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
        self._ledger = Ledger(price_in, price_out, max_cost, processes, spent_before)
        self.model, self.max_tokens, self.temperature = model, max_tokens, temperature
        self.retries = retries
        self.seed = seed
        self.cache = ReplyCache(cache) if cache is not None else None
        self._client = None if offline else ChatClient(model, base_url, timeout_s, max_tokens, temperature)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="endpoint")
        self._lock = threading.Lock()
        self._key_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        if self.cache is not None and (price_in or price_out):
            self._ledger.count_as_spent(self.cache.spent())
        self._kept = kept
        self._resume_at = 0.0

    @property
    def usage(self) -> Usage:
        """What was asked and paid so far in this process."""
        return self._ledger.usage

    @property
    def spent(self) -> float:
        """USD spent so far on all that is in the cache; of what was spent before, this process's share."""
        return self._ledger.spent

    @property
    def tokens_unknown(self) -> bool:
        """Whether the endpoint left out how many tokens an answer took."""
        return self._ledger.tokens_unknown

    def count_as_spent(self, cost: float) -> None:
        """Let USD that were spent elsewhere count towards the cap."""
        self._ledger.count_as_spent(cost)

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
            self._ledger.check_cap(self.model)
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

    def _count(self, came: Completion | TryAgain) -> Reply:
        """Count a request, whatever came of it, and make a reply of a completion."""
        cost = self._ledger.count(came)
        failed = isinstance(came, TryAgain)
        if failed and cost and self.cache is not None:
            with self._lock:
                self.cache.note_failure(cost)
        text = "" if isinstance(came, TryAgain) else came.text
        return Reply(text, came.prompt_tokens or 0, came.completion_tokens or 0, cost=cost)
