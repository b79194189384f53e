"""The solver's episodes as examples to learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gtr_agent.config import Settings
from gtr_envs.episode import Seat
from gtr_envs.experts import SolverPolicy
from gtr_envs.text_actions import make_text_env


@dataclass(frozen=True)
class Demonstration:
    """One turn of the solver. ``frame`` is (height, width, 3) uint8, or None where only the answer is learned."""

    prompt: str
    text: str
    frame: np.ndarray | None
    is_first: bool


def collect_demonstrations(
    settings: Settings, with_pictures: bool, advance: Callable[[int], None] = lambda n: None
) -> list[Demonstration]:
    """Play the solver on training hands.

    Args:
        settings: says which environment, how many episodes and how the solver thinks.
        with_pictures: whether to keep the frames; these are other episodes than those without.
        advance: called with the number of episodes done since it was last called.

    Returns:
        every turn of every episode, in order.
    """
    n_episodes = settings.sft.episodes if with_pictures else settings.sft.text_episodes
    kind = "demonstrations" if with_pictures else "text"
    env = make_text_env(settings.env.id, settings.env.invalid, **settings.env.options)
    seat = Seat(env, policy_seed=settings.seed, keep_frames=with_pictures)
    solver = SolverPolicy(thoughts=settings.sft.thoughts, vary=True)
    demonstrations: list[Demonstration] = []
    for index in range(n_episodes):
        seat.start(settings.training_seed(kind, index))
        while not seat.done:
            turn = seat.apply(solver.act([seat.request()])[0])
            demonstrations.append(Demonstration(turn.prompt, turn.text, turn.frame, turn.index == 0))
        advance(1)
    env.close()
    return demonstrations


class DemonstrationSampler:
    """Draws batches: a set share of first turns, the rest from all turns."""

    def __init__(self, demonstrations: list[Demonstration], first_turn_share: float, rng: np.random.Generator) -> None:
        self.demonstrations = demonstrations
        self.first_turns = [index for index, item in enumerate(demonstrations) if item.is_first]
        self.first_turn_share = first_turn_share
        self.rng = rng

    def draw(self, count: int) -> list[Demonstration]:
        """A batch, drawn with replacement."""
        n_first = int(self.rng.binomial(count, self.first_turn_share))
        firsts = self.rng.integers(len(self.first_turns), size=n_first)
        others = self.rng.integers(len(self.demonstrations), size=count - n_first)
        indices = [self.first_turns[index] for index in firsts] + [int(index) for index in others]
        return [self.demonstrations[index] for index in indices]
