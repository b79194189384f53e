"""Collecting turns: the environments side by side, played by the agent.

Environments go on from one update to the next; an episode that ends makes room for the next seed. Termination and
truncation stay apart: for a truncated episode, and for one that the update's end interrupts, the state that was reached
is kept, so that its value can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import PromptRow
from gtr_agent.config import Settings
from gtr_agent.generation import Sample
from gtr_agent.parallel import Workers
from gtr_agent.policy import answer_requests, draw_uniforms, encode_requests
from gtr_envs.episode import Episode, Request, Response, Seat, Turn
from gtr_envs.protocol import AnswerStatus
from gtr_envs.text_actions import make_text_env


@dataclass(frozen=True)
class Transition:
    """One turn as training sees it.

    Attributes:
        prompt: the question, picture included.
        sample: the answer's tokens.
        turn: what was played; its reward is the environment's.
        reward: the environment's and the format's.
        terminated: the episode ended here.
        truncated: the episode was cut off here.
        next_prompt: the state that was reached, where its value is needed and no turn of this batch begins there.
    """

    prompt: PromptRow
    sample: Sample
    turn: Turn
    reward: float
    terminated: bool
    truncated: bool
    next_prompt: PromptRow | None = None


@dataclass(frozen=True)
class Rollout:
    """An update's turns, [time][environment], and the episodes that ended among them."""

    transitions: list[list[Transition]]
    episodes: list[Episode]

    def flat(self) -> list[Transition]:
        """All turns, time by time."""
        return [transition for row in self.transitions for transition in row]


def check_environment(settings: Settings) -> None:
    """Make the environment once, so that a mistake in its settings is named before anything is written.

    Raises:
        SettingError: it does not know an option, or not its value.
        UnknownEnvironmentError: there is no such environment.
    """
    make_text_env(settings.env.id, settings.env.invalid, **settings.env.options).close()


class Collector:
    """Plays the agent in all environments, in one batch.

    Args:
        settings: the run's settings.
        actor: the agent.
        processor: its model's processor.
        workers: who computes.
    """

    def __init__(self, settings: Settings, actor: ActorCritic, processor: Any, workers: Workers) -> None:
        self.settings = settings
        self.workers = workers
        self.actor = actor
        self.processor = processor
        self.next_seed = 0
        options = settings.env.options
        self.seats = [
            Seat(make_text_env(settings.env.id, settings.env.invalid, **options), policy_seed=settings.seed)
            for _ in range(settings.rollout.num_envs)
        ]
        for seat in self.seats:
            self._start(seat)

    def collect(self) -> Rollout:
        """Play ``rollout.turns`` turns in each environment."""
        rows: list[list[Transition]] = []
        episodes: list[Episode] = []
        last = self.settings.rollout.turns - 1
        for time in range(self.settings.rollout.turns):
            requests = [seat.request() for seat in self.seats]
            prompts = self._encode(requests)
            longest = self.settings.rollout.max_new_tokens
            uniforms = draw_uniforms(requests, longest)
            responses = answer_requests(self.actor, self.processor, requests, prompts, uniforms, longest)
            row = []
            reached: dict[int, Request] = {}
            for index, (seat, prompt, response) in enumerate(zip(self.seats, prompts, responses, strict=True)):
                turn = seat.apply(response)
                row.append(self._transition(seat, prompt, response, turn))
                if not seat.terminated and (seat.truncated or time == last):
                    reached[index] = seat.request()
                if seat.done:
                    episodes.append(seat.episode())
                    self._start(seat)
            rows.append(self._with_next(row, reached))
        return Rollout(rows, episodes)

    def close(self) -> None:
        """Close the environments."""
        for seat in self.seats:
            seat.env.close()

    def _start(self, seat: Seat) -> None:
        seat.start(self.settings.training_seed("rollout", self.next_seed))
        self.next_seed += 1

    def _encode(self, requests: Sequence[Request]) -> list[PromptRow]:
        return encode_requests(self.actor, self.processor, requests, self.workers)

    def _transition(self, seat: Seat, prompt: PromptRow, response: Response, turn: Turn) -> Transition:
        rollout = self.settings.rollout
        bonus = {AnswerStatus.STRICT: rollout.format_reward, AnswerStatus.REPAIRED: rollout.repaired_reward}
        reward = turn.reward + bonus.get(turn.status, 0.0)
        return Transition(prompt, response.extra, turn, reward, seat.terminated, seat.truncated)

    def _with_next(self, row: list[Transition], reached: dict[int, Request]) -> list[Transition]:
        """The row with the states that were reached where their values are needed."""
        if not reached:
            return row
        prompts = dict(zip(reached, self._encode(list(reached.values())), strict=True))
        return [
            Transition(t.prompt, t.sample, t.turn, t.reward, t.terminated, t.truncated, prompts.get(index))
            for index, t in enumerate(row)
        ]
