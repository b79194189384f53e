"""Any OpenAI-compatible chat endpoint, asked so that nothing is lost and nothing is paid for twice.

What may pass is tried again by the ``openai`` client after growing pauses, or as long as the endpoint asks for: rate
limits, faults of the server, timeouts, dropped connections and answers that are no chat completion. What will not pass
ends the asking at once with a named error. Every reply is on disk before it is handed out, so after any error the same
questions can be asked again and only the rest is paid for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from gtr_agent import chat_client
from gtr_agent.chat_client import Completion, EndpointOptions
from gtr_agent.reply_cache import Message, Reply, ReplyCache, conversation_key
from gtr_envs.errors import CostCapError, EndpointError, GtrError, MissingReplyError, SettingError


@dataclass(frozen=True)
class Usage:
    """What was asked and paid in this process.

    Attributes:
        calls: requests that were sent, but for those refused for a parameter's name and sent again without it.
        failed: those of them that brought no reply.
        prompt_tokens, completion_tokens: of questions and of answers, as far as the endpoint said.
        cut_off: replies that the limit on their length ended.
        cost: USD for all tokens.
    """

    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cut_off: int = 0
    cost: float = 0.0


class CostTracker:
    """Counts requests and what they cost, and keeps to the cap. It may be used from several threads.

    Args:
        options: the prices and the cap.
        processes: how many processes of a run ask, all with this cap: each may spend its share of what is left.

    Attributes:
        usage: what was asked and paid in this process.
        tokens_unknown: whether the endpoint left out how many tokens a reply took.
    """

    def __init__(self, options: EndpointOptions, processes: int) -> None:
        self._options, self._processes, self._spent_before = options, processes, 0.0
        self._lock = threading.Lock()
        self.usage = Usage()
        self.tokens_unknown = False

    @property
    def spent(self) -> float:
        """USD spent so far; of what was spent before, this process's share."""
        return self._spent_before / self._processes + self.usage.cost

    def count_as_spent(self, cost: float) -> None:
        """Let USD that were spent before count towards the cap."""
        self._spent_before += cost

    def add(self, **more: float) -> None:
        """Add to the entries of :attr:`usage`."""
        with self._lock:
            self.usage = replace(self.usage, **{name: getattr(self.usage, name) + more[name] for name in more})

    def cost(self, came: Completion) -> float:
        """What an answer cost, in USD."""
        return (came.prompt_tokens * self._options.price_in + came.completion_tokens * self._options.price_out) / 1e6

    def check_cap(self) -> None:
        """Begin no call at or above the cap.

        Raises:
            CostCapError: the cap is reached.
            EndpointError: the endpoint does not say what the cap needs to know.
        """
        cap, paid = self._options.max_cost, self.usage.cost
        if not cap:
            return
        # What the others spend is not known here: as much as this one, each at the most.
        if self._spent_before + paid * self._processes >= cap * (1 - 1e-9):  # ten times 0.1 are a little less than 1
            shares = f" (by each of {self._processes} processes up to its share)" if self._processes > 1 else ""
            raise CostCapError(
                f"{self._spent_before + paid:.4f} USD are spent on replies of {self._options.model!r}, {paid:.4f} of "
                f"them now{shares}, and max_cost={cap}; to go on, raise max_cost and run or resume again"
            )
        if self.tokens_unknown:
            raise EndpointError(
                f"the endpoint does not say how many tokens it takes, so max_cost={cap} cannot be kept; set "
                "max_cost=0 to go on without a cap"
            )


@dataclass(frozen=True)
class _Question:
    """A conversation to be answered, what its reply is filed under, and the seed of its sampling."""

    key: str
    conversation: Sequence[Message]
    seed: int | None


class Endpoint:
    """A model behind an OpenAI-compatible chat endpoint, to be asked by one thread at a time.

    Args:
        options: which model, how, and for how much.
        processes: how many processes of a run ask, all with this cap: each may spend its share of what is left.
        kept: what an error says of replies that were paid for, where there is no cache.

    Attributes:
        costs: what was asked and paid so far, the cap, and what was spent on all that is in the cache.
        cache: of the replies, or None.

    Raises:
        SettingError: no address, or no key for OpenAI's own.
        MissingExtraError: the package ``openai`` is not installed.
    """

    def __init__(
        self, options: EndpointOptions, processes: int = 1, kept: str = "nothing was kept, for want of a cache"
    ) -> None:
        self.options = options
        self.cache = ReplyCache(options.cache) if options.cache is not None else None
        self.costs = CostTracker(options, processes)
        if self.cache is not None and (options.price_in or options.price_out):
            self.costs.count_as_spent(self.cache.spent())
        self._kept = kept
        self._client = None if options.offline else chat_client.connect(options, self._on_request, self._on_response)
        self._refused: set[str] = set()  # parameters that the endpoint does not take under their usual names
        self._stop = threading.Event()  # set once the asking is ending: nothing further is sent

    def close(self) -> None:
        """End the connections."""
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
        model, longest, temperature = self.options.model, self.options.max_tokens, self.options.temperature
        questions = [
            _Question(conversation_key(model, conversation, temperature, longest), conversation, seed)
            for conversation, seed in zip(conversations, seeds or [None] * len(conversations), strict=True)
        ]
        if self.cache is None:
            return self._ask_all(questions)
        answers = {asked.key: known for asked in questions if (known := self.cache.read(asked.key)) is not None}
        missing = {asked.key: asked for asked in questions if asked.key not in answers}
        answers |= zip(missing, self._ask_all(list(missing.values())), strict=True)
        replies = []
        for asked in questions:
            replies.append(answers[asked.key])
            answers[asked.key] = replace(answers[asked.key], cached=True, cost=0.0)  # put twice, it is paid for once
        return replies

    def _ask_all(self, questions: Sequence[_Question]) -> list[Reply]:
        """The replies to these; if one fails for good, calls under way are finished and kept before its error goes."""
        if questions and self._client is None:
            raise MissingReplyError(
                f"{len(questions)} replies of {self.options.model!r} are not in {self.options.cache}, and offline=true "
                "asks no endpoint; give the cache of the run that is repeated and its settings, or set offline=false"
            )
        self._stop.clear()
        with ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="endpoint") as pool:
            try:
                came = list(pool.map(self._try, questions))
            finally:
                self._stop.set()
        replies = [reply for reply in came if isinstance(reply, Reply)]
        problem = next((problem for problem in came if isinstance(problem, Exception)), None)
        if isinstance(problem, GtrError):
            kept = f"all that was paid for is in {self.options.cache} and is not asked for again"
            kept = self._kept if self.cache is None else kept
            raise type(problem)(f"{problem}. {len(replies)} of {len(came)} replies had arrived; {kept}") from None
        if problem is not None:
            raise problem
        return replies

    def _try(self, question: _Question) -> Reply | Exception | None:
        """A reply, or why there is none; None once another one failed for good, which ends the asking."""
        try:
            return None if self._stop.is_set() else self._answer(question)
        except CancelledError:
            return None
        except Exception as problem:
            self._stop.set()
            return problem

    def _answer(self, question: _Question) -> Reply:
        """One reply from the endpoint, kept before it is handed out."""
        import openai

        assert self._client is not None
        messages = [chat_client.as_openai(message) for message in question.conversation]
        settings = {"model": self.options.model, "temperature": self.options.temperature, "messages": messages}
        self.costs.check_cap()  # before the hook does: older clients wrap, and try again, what a hook raises
        while True:
            named = self._named_parameters(question.seed)
            try:
                response = self._client.chat.completions.with_raw_response.create(**settings, **named)
                break
            except openai.APIError as error:
                if isinstance(error.__cause__, (GtrError, CancelledError)):
                    raise error.__cause__ from None
                refused = chat_client.refused_parameter(error, named)
                if refused is None:
                    raise chat_client.explain(error, self.options) from None
            self._refused.add(refused)
            self.costs.add(calls=-1, failed=-1)
        came = chat_client.read_completion(response.http_response.text)
        reply = Reply(came.text or "", came.prompt_tokens, came.completion_tokens, cost=self.costs.cost(came))
        if self.cache is not None:
            self.cache.write(question.key, self.options.model, reply)
        return reply

    def _named_parameters(self, seed: int | None) -> dict[str, int]:
        """The parameters whose names endpoints differ about."""
        longest = "max_completion_tokens" if "max_tokens" in self._refused else "max_tokens"
        named = {longest: self.options.max_tokens}
        return named if seed is None or "seed" in self._refused else {**named, "seed": seed}

    def _on_request(self, request: Any) -> None:
        """Before every attempt, further ones included."""
        if self._stop.is_set():
            raise CancelledError
        self.costs.check_cap()
        self.costs.add(calls=1, failed=1)  # until its reply comes

    def _on_response(self, response: Any) -> None:
        """After every answer, before the client looks at it: count it, and tell the client what it cannot know."""
        response.read()
        if response.is_success:
            came = chat_client.read_completion(response.text)
            cost = self.costs.cost(came)
            tokens = {"prompt_tokens": came.prompt_tokens, "completion_tokens": came.completion_tokens}
            self.costs.add(failed=-(came.text is not None), cut_off=int(came.cut_off), cost=cost, **tokens)
            if came.text is None:
                response.status_code = chat_client.NO_COMPLETION
                if cost and self.cache is not None:
                    self.cache.note_failure(cost)
            elif not came.is_counted:
                self.costs.tokens_unknown = True
        elif response.has_redirect_location:
            self.costs.add(calls=-1, failed=-1)  # the one that follows it is counted
        elif chat_client.NO_QUOTA in response.text:
            response.headers["x-should-retry"] = "false"
