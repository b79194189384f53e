"""Turns of an expert's episodes, played beforehand, as examples to learn from.

Games whose states cannot be drawn on the spot are played: some hundred episodes with seeds of their own, in as many
processes as there are cores, and each turn of those that were won is a demonstration. In ALFWorld the expert is the
explorer, which knows no more than the agent will: whoever imitates a player that sees through doors learns to guess.
"""

from __future__ import annotations

import multiprocessing
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from gtr_agent.demonstrations import Demonstration
from gtr_agent.settings import EnvSettings, Settings
from gtr_envs.episode import play
from gtr_envs.errors import SettingError
from gtr_envs.experts import demonstrator
from gtr_envs.text_actions import TextActions, make_text_env

EPISODES_AT_A_TIME = 25
"""Fewer than this are not worth the start of a process."""


@dataclass(frozen=True)
class PlayedTurn:
    """A turn, its picture compressed without loss: some thousands of them are kept."""

    prompt: str
    text: str
    picture: bytes
    shape: tuple[int, ...]

    def frame(self) -> np.ndarray:
        """The picture, (height, width, 3) uint8."""
        return np.frombuffer(zlib.decompress(self.picture), np.uint8).reshape(self.shape)


def play_turns(env: EnvSettings, seeds: Sequence[int]) -> list[PlayedTurn]:
    """The turns of those of an expert's episodes that were won.

    Args:
        env: the environment.
        seeds: of the episodes.
    """
    expert = demonstrator(env.id)
    turns = []

    def make() -> TextActions:
        return make_text_env(env.id, env.invalid, **env.options)

    for episode in play(expert, make, seeds, batch_size=1, keep_frames=True):
        if episode.error is not None:
            raise SettingError(f"the expert's episode {episode.seed} of {env.id} crashed: {episode.error}")
        for turn in episode.turns if episode.success else ():
            assert turn.frame is not None
            turns.append(PlayedTurn(turn.prompt, turn.text, zlib.compress(turn.frame.tobytes(), 1), turn.frame.shape))
    return turns


class PlayedDemonstrations:
    """Deals the turns of an expert's episodes, all of them before any comes again.

    Args:
        settings: say which environment, and how many episodes.
        rng: shuffles the turns.

    Raises:
        SettingError: the expert won no episode.
    """

    def __init__(self, settings: Settings, rng: np.random.Generator) -> None:
        count = settings.sft.episodes
        seeds = [settings.training_seed("demonstration", index) for index in range(count)]
        chunks = [seeds[start : start + EPISODES_AT_A_TIME] for start in range(0, count, EPISODES_AT_A_TIME)]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        processes = min(settings.threads or cores, len(chunks))
        if processes > 1:  # started afresh: a copy of this process would hold a copy of its threads' locks
            with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
                played = list(pool.map(play_turns, repeat(settings.env), chunks))
        else:
            played = [play_turns(settings.env, chunk) for chunk in chunks]
        self.turns = [turn for turns in played for turn in turns]
        if not self.turns:
            raise SettingError(f"the expert won none of {count} episodes of {settings.env.id}; raise sft.episodes")
        self.rng = rng
        self.waiting: list[int] = []

    def draw(self, count: int, with_pictures: bool) -> list[Demonstration]:
        """That many turns, with or without their pictures."""
        while len(self.waiting) < count:
            self.waiting += self.rng.permutation(len(self.turns)).tolist()
        chosen, self.waiting = self.waiting[:count], self.waiting[count:]
        turns = [self.turns[index] for index in chosen]
        return [Demonstration(turn.prompt, turn.text, turn.frame() if with_pictures else None) for turn in turns]
