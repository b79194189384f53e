"""What asking an endpoint costs, and the cap at which no more is asked."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from gtr_agent.chat_client import Completion, TryAgain
from gtr_envs.errors import CostCapError, EndpointError, SettingError


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


class Ledger:
    """Counts requests and what they cost. It may be used from several threads.

    Args:
        price_in: USD for a million prompt tokens.
        price_out: USD for a million answer tokens.
        max_cost: USD at which no further call is begun; 0 for no cap.
        processes: how many processes of a run ask, all with this cap: each may spend its share of what is left.
        spent_before: USD that count as spent already.

    Raises:
        SettingError: a cap without prices.
    """

    def __init__(
        self, price_in: float, price_out: float, max_cost: float, processes: int = 1, spent_before: float = 0.0
    ) -> None:
        if max_cost and not (price_in or price_out):
            raise SettingError(f"max_cost={max_cost} needs price_in and price_out, in USD for a million tokens")
        self._price_in, self._price_out, self._max_cost = price_in, price_out, max_cost
        self._processes = processes
        self._spent_before = spent_before
        self._usage = Usage()
        self._tokens_unknown = False
        self._lock = threading.Lock()

    @property
    def usage(self) -> Usage:
        """What was asked and paid so far in this process."""
        with self._lock:
            return self._usage

    @property
    def tokens_unknown(self) -> bool:
        """Whether the endpoint left out how many tokens an answer took."""
        with self._lock:
            return self._tokens_unknown

    @property
    def spent(self) -> float:
        """USD spent so far; of what was spent before, this process's share."""
        with self._lock:
            return self._spent_before / self._processes + self._usage.cost

    def count_as_spent(self, cost: float) -> None:
        """Let USD that were spent elsewhere count towards the cap."""
        with self._lock:
            self._spent_before += cost

    def count(self, came: Completion | TryAgain) -> float:
        """Count a request, whatever came of it; returns what it cost, in USD."""
        tokens_in, tokens_out = came.prompt_tokens or 0, came.completion_tokens or 0
        cost = (tokens_in * self._price_in + tokens_out * self._price_out) / 1e6
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
        return cost

    def check_cap(self, model: str) -> None:
        """Begin no call at or above the cap.

        Args:
            model: whose replies are paid for, for the error's words.

        Raises:
            CostCapError: the cap is reached.
            EndpointError: the endpoint does not say what the cap needs to know.
        """
        if not self._max_cost:
            return
        with self._lock:
            before, paid, unknown = self._spent_before, self._usage.cost, self._tokens_unknown
        # What the others spend is not known here: as much as this one, each at the most.
        if before + paid * self._processes >= self._max_cost * (1 - 1e-9):  # ten times 0.1 are a little less than 1
            shares = f" (by each of {self._processes} processes up to its share)" if self._processes > 1 else ""
            raise CostCapError(
                f"{before + paid:.4f} USD are spent on replies of {model!r}, {paid:.4f} of them now{shares}, and "
                f"max_cost={self._max_cost}; to go on, raise max_cost and run or resume again"
            )
        if unknown:
            raise EndpointError(
                f"the endpoint does not say how many tokens it takes, so max_cost={self._max_cost} cannot be kept; set "
                "max_cost=0 to go on without a cap"
            )
