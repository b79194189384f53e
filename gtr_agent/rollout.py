"""Collecting turns: the environments side by side, played by the agent.

Environments go on from one update to the next; an episode that ends makes room for the next seed. Termination and
truncation stay apart: for a truncated episode, and for one that the update's end interrupts, the state that was reached
is kept, so that its value can be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import PromptRow
from gtr_agent.generation import Sample
from gtr_agent.mid_episode import restore_seat, save_seat, versions
from gtr_agent.parallel import Workers
from gtr_agent.policy import answer_requests, draw_uniforms, encode_requests
from gtr_agent.settings import Settings
from gtr_envs.episode import Episode, Request, Response, Seat, Turn
from gtr_envs.errors import CheckpointError
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
        request: the question as the environment put it, where a corrector will be asked; its picture takes room.
    """

    prompt: PromptRow
    sample: Sample
    turn: Turn
    reward: float
    terminated: bool
    truncated: bool
    next_prompt: PromptRow | None = None
    request: Request | None = None


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
        keep_requests: whether transitions hold the questions as the environments put them.
        rank: this process among those of the run, each of which plays seeds of its own.
        ranks: how many processes there are.
    """

    def __init__(
        self,
        settings: Settings,
        actor: ActorCritic,
        processor: Any,
        workers: Workers,
        keep_requests: bool = False,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.settings = settings
        self.ranks = ranks
        self.keep_requests = keep_requests
        self.workers = workers
        self.actor = actor
        self.processor = processor
        self.next_seed = rank
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
            played = zip(self.seats, requests, prompts, responses, strict=True)
            for index, (seat, request, prompt, response) in enumerate(played):
                turn = seat.apply(response)
                kept = request if self.keep_requests else None
                row.append(self._transition(seat, prompt, response, turn, kept))
                if not seat.terminated and (seat.truncated or time == last):
                    reached[index] = seat.request()
                if seat.done:
                    episodes.append(seat.episode())
                    self._start(seat)
            rows.append(self._with_next(row, reached))
        return Rollout(rows, episodes)

    def state(self) -> dict[str, Any]:
        """Where the environments are between two rollouts, as plain JSON."""
        return {
            "next_seed": self.next_seed,
            "versions": versions(),
            "seats": [save_seat(seat) for seat in self.seats],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave: all that is collected from then on is the same.

        The episodes under way are played again up to there, see ``mid_episode.py``.

        Raises:
            EnvironmentChangedError: an episode does not go as it went.
            CheckpointError: the state is damaged, or of another number of environments.
        """
        try:
            next_seed, seats, saved_with = int(state["next_seed"]), list(state["seats"]), dict(state["versions"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the saved environments are damaged ({error!r}); resume from another one") from error
        if len(seats) != len(self.seats):
            raise CheckpointError(
                f"{len(seats)} environments were saved and rollout.num_envs={len(self.seats)}; "
                f"resume with rollout.num_envs={len(seats)}"
            )
        for seat, saved in zip(self.seats, seats, strict=True):
            restore_seat(seat, saved, saved_with)
        self.next_seed = next_seed

    def close(self) -> None:
        """Close the environments."""
        for seat in self.seats:
            seat.env.close()

    def _start(self, seat: Seat) -> None:
        seat.start(self.settings.training_seed("rollout", self.next_seed))
        self.next_seed += self.ranks

    def _encode(self, requests: Sequence[Request]) -> list[PromptRow]:
        return encode_requests(self.actor, self.processor, requests, self.workers)

    def _transition(
        self, seat: Seat, prompt: PromptRow, response: Response, turn: Turn, request: Request | None
    ) -> Transition:
        rollout = self.settings.rollout
        bonus = {
            AnswerStatus.STRICT: rollout.format_reward,
            AnswerStatus.REPAIRED: rollout.repaired_reward,
            AnswerStatus.INVALID: rollout.invalid_reward,
        }
        reward = turn.reward + bonus[turn.status]
        ended, cut_off = seat.terminated, seat.truncated
        return Transition(prompt, response.extra, turn, reward, ended, cut_off, request=request)

    def _with_next(self, row: list[Transition], reached: dict[int, Request]) -> list[Transition]:
        """The row with the states that were reached where their values are needed."""
        if not reached:
            return row
        prompts = dict(zip(reached, self._encode(list(reached.values())), strict=True))
        return [replace(transition, next_prompt=prompts.get(index)) for index, transition in enumerate(row)]
