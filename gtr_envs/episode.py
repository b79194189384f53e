"""The multi-turn loop: who sits at an environment, what is asked, what came of it.

Everything random in an episode follows from two numbers: the episode's seed (the environment) and the policy's seed
(its sampling). A turn's sampling noise comes from a generator of its own, made from (policy seed, episode seed, turn),
so an episode does not depend on which others were played beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from gtr_envs.errors import MissingExtraError
from gtr_envs.protocol import Answer, AnswerStatus
from gtr_envs.tasks import Task
from gtr_envs.text_actions import TextActions

EVAL_SEED_BASE = 10_000_000_000
"""Evaluation seeds start here. Training uses seeds below it, so the two never meet."""


def episode_seeds(seed: int, n_episodes: int) -> tuple[int, ...]:
    """The seeds of an evaluation's episodes: ``EVAL_SEED_BASE + seed * 1_000_000 + i``."""
    return tuple(EVAL_SEED_BASE + seed * 1_000_000 + i for i in range(n_episodes))


class StopReason(StrEnum):
    """Why an episode ended."""

    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    CRASHED = "crashed"


@dataclass(frozen=True)
class Request:
    """One turn's question to a policy.

    Attributes:
        frame: (height, width, 3) uint8, the picture.
        prompt: the text that goes with it.
        info: the environment's info; experts read it, a model under test must not.
        task: the environment's words.
        rng: the source of all randomness in this answer.
    """

    frame: np.ndarray
    prompt: str
    info: Mapping[str, Any]
    task: Task
    rng: np.random.Generator


@dataclass(frozen=True)
class Response:
    """A policy's answer: its text, how many tokens it took, and whatever the policy wants to find again in training."""

    text: str
    tokens: int = 0
    thought_tokens: int = 0
    extra: Any = None


class Policy(Protocol):
    """Anything that answers."""

    name: str

    def act(self, requests: Sequence[Request]) -> list[Response]:
        """Answer a batch of questions, in their order."""


@dataclass(frozen=True)
class Turn:
    """One turn, as it was played.

    ``reward`` is the environment's; ``frame`` is the picture that was answered; ``extra`` is what the policy wants to
    find again. The last two are there only where they were asked for.
    """

    index: int
    frame: np.ndarray | None
    prompt: str
    text: str
    status: AnswerStatus
    thoughts: str
    action: str | None
    reward: float
    illegal: bool
    tokens: int
    thought_tokens: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    extra: Any = field(default=None, compare=False)


@dataclass(frozen=True)
class Episode:
    """A whole episode. ``info`` holds what describes its start, as plain JSON values; ``error`` what crashed it."""

    seed: int
    turns: tuple[Turn, ...]
    stop: StopReason
    success: bool
    info: Mapping[str, Any]
    error: str | None = None

    @property
    def steps(self) -> int:
        return len(self.turns)

    @property
    def episode_return(self) -> float:
        """The undiscounted sum of the environment's rewards."""
        return float(sum(turn.reward for turn in self.turns))

    @property
    def n_illegal(self) -> int:
        return sum(turn.illegal for turn in self.turns)

    @property
    def n_invalid(self) -> int:
        return sum(turn.status is AnswerStatus.INVALID for turn in self.turns)

    @property
    def n_repaired(self) -> int:
        return sum(turn.status is AnswerStatus.REPAIRED for turn in self.turns)

    @property
    def tokens(self) -> int:
        return sum(turn.tokens for turn in self.turns)

    @property
    def thought_tokens(self) -> int:
        return sum(turn.thought_tokens for turn in self.turns)


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


START_INFO = (
    *("cards", "numbers", "solvable", "hand_split"),
    *("target", "current", "player", "dealer"),
    *("task", "task_type", "gamefile"),
)
"""The info keys that describe an episode's start and are kept with it, where an environment has them."""


class Seat:
    """One environment being played: asks, plays the answer, knows when the episode ends.

    Args:
        env: the environment, played by answers.
        policy_seed: the seed of the policy's sampling.
        keep_frames: whether turns hold their pictures.
        keep_extra: whether turns hold what the policy gave beside its answer.
    """

    def __init__(
        self, env: TextActions, policy_seed: int = 0, keep_frames: bool = False, keep_extra: bool = False
    ) -> None:
        self.env = env
        self.policy_seed = policy_seed
        self.keep_frames = keep_frames
        self.keep_extra = keep_extra
        self.seed = -1
        self.turns: list[Turn] = []
        self.frame: np.ndarray = np.zeros((0, 0, 3), np.uint8)
        self.info: dict[str, Any] = {}
        self.start_info: dict[str, Any] = {}
        self.terminated = False
        self.truncated = False

    def start(self, seed: int) -> None:
        """Begin the episode of this seed."""
        self.seed = seed
        self.turns = []
        self.terminated = self.truncated = False
        self.info, self.start_info = {}, {}  # not the last episode's, where this one cannot begin
        self.frame, self.info = self.env.reset(seed=seed)
        self.start_info = {key: _plain(self.info[key]) for key in START_INFO if key in self.info}

    @property
    def done(self) -> bool:
        return self.terminated or self.truncated

    def request(self) -> Request:
        """The question of this turn."""
        rng = np.random.default_rng([self.policy_seed, self.seed, len(self.turns)])
        task = self.env.task
        return Request(self.frame, task.prompt(self.info), self.info, task, rng)

    def apply(self, response: Response) -> Turn:
        """Play an answer and move on to the next state."""
        frame, prompt = self.frame, self.env.task.prompt(self.info)
        self.frame, reward, self.terminated, self.truncated, info = self.env.step(response.text)
        answer: Answer = info.pop("answer")
        self.info = info
        turn = Turn(
            index=len(self.turns),
            frame=frame if self.keep_frames else None,
            prompt=prompt,
            text=response.text,
            status=answer.status,
            thoughts=answer.thoughts,
            action=answer.action,
            reward=float(reward),
            illegal=bool(info.get("illegal", False)),
            tokens=response.tokens,
            thought_tokens=response.thought_tokens,
            fields=answer.fields,
            extra=response.extra if self.keep_extra else None,
        )
        self.turns.append(turn)
        return turn

    def episode(self, error: str | None = None) -> Episode:
        """The episode as played so far: whole if :attr:`done`, crashed if an error is given."""
        stop = StopReason.TERMINATED if self.terminated else StopReason.TRUNCATED
        if error is not None:
            stop = StopReason.CRASHED
        success = error is None and bool(self.info.get("is_success", False))
        return Episode(self.seed, tuple(self.turns), stop, success, self.start_info, error)


def _close_failed(seat: Seat) -> None:
    """Close an environment that failed; it may fail at that too."""
    with suppress(Exception):
        seat.env.close()


def play(
    policy: Policy,
    make_env: Callable[[], TextActions],
    seeds: Sequence[int],
    *,
    batch_size: int = 64,
    keep_frames: bool = False,
    keep_extra: bool = False,
    policy_seed: int = 0,
) -> Iterator[Episode]:
    """Play one episode a seed, many at a time.

    Args:
        policy: who answers.
        make_env: makes an environment that is played by answers.
        seeds: the episodes' seeds.
        batch_size: how many episodes are played side by side. It changes nothing that is drawn; a model's own
            arithmetic may round otherwise in another batch.
        keep_frames: whether turns hold their pictures.
        keep_extra: whether turns hold what the policy gave beside its answer.
        policy_seed: the seed of the policy's sampling.

    Yields:
        the episodes, each as soon as it ends; one that its environment crashed, be it at its beginning or in a step,
        is yielded as crashed, never dropped, and that environment is closed and not used again. A policy that raises
        is a fault of the program and ends the loop, and so is an environment that cannot be made.
    """
    waiting = deque(seeds)
    seats: list[Seat] = []
    free: list[Seat] = []
    try:
        while waiting or seats:
            while waiting and len(seats) < batch_size:
                seat = free.pop() if free else Seat(make_env(), policy_seed, keep_frames, keep_extra)
                try:
                    seat.start(waiting.popleft())
                    seats.append(seat)
                except MissingExtraError:  # every other episode would fail of it, too
                    _close_failed(seat)
                    raise
                except Exception as error:
                    _close_failed(seat)
                    yield seat.episode(f"{type(error).__name__}: {error}")
            responses = policy.act([seat.request() for seat in seats]) if seats else []
            for seat, response in zip(tuple(seats), responses, strict=True):
                failure: str | None = None
                try:
                    seat.apply(response)
                except Exception as error:
                    failure = f"{type(error).__name__}: {error}"
                if failure is not None or seat.done:
                    seats.remove(seat)
                    if failure is not None:  # an environment that failed is not trusted again
                        _close_failed(seat)
                    else:
                        free.append(seat)
                    yield seat.episode(failure)
    finally:
        for seat in (*seats, *free):
            seat.env.close()
