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
from gtr_envs.episode import Policy, Request, Response, play
from gtr_envs.errors import SettingError
from gtr_envs.experts import demonstrator
from gtr_envs.protocol import write_answer
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


class Stumbling:
    """An expert that is made to stumble now and then, so that its episodes show how to get up again.

    With some chance a random action is played in place of its own: a legal one, or, where the task takes any text, one
    that was legal earlier in the episode and is not any more, which is what agents try. (DART, Laskey et al. 2017,
    https://arxiv.org/abs/1703.09327.) It plays one episode at a time.

    Args:
        expert: who plays.
        noise: the chance of stumbling in a turn.
    """

    name = "stumbling"

    def __init__(self, expert: Policy, noise: float) -> None:
        self.expert = expert
        self.noise = noise
        self.stumbles: list[bool] = []  # for each turn that was played
        self._seen: dict[str, None] = {}  # the actions that were legal in this episode, in order

    def act(self, requests: Sequence[Request]) -> list[Response]:
        (request,) = requests
        legal = request.task.legal(request.info)
        stumbles = bool(request.rng.random() < self.noise)
        self.stumbles.append(stumbles)
        (response,) = self.expert.act(requests)
        if stumbles:
            gone = [action for action in self._seen if action not in legal] if request.task.free_actions else []
            pool = gone if gone and request.rng.random() < 0.5 else list(legal)
            fields = {**dict.fromkeys(request.task.keys, ""), "action": pool[int(request.rng.integers(len(pool)))]}
            response = Response(write_answer(fields))
        self._seen |= dict.fromkeys(legal)
        return [response]

    def begin(self) -> None:
        """Forget the episode before."""
        self.stumbles, self._seen = [], {}


def play_turns(env: EnvSettings, seeds: Sequence[int], noise: float = 0.0) -> list[PlayedTurn]:
    """The expert's turns in those of its episodes that were won.

    Args:
        env: the environment.
        seeds: of the episodes.
        noise: the chance that a random action is played in its place in a turn; such turns are left out.
    """
    player = Stumbling(demonstrator(env.id), noise)
    turns = []

    def make() -> TextActions:
        return make_text_env(env.id, env.invalid, **env.options)

    for seed in seeds:
        player.begin()
        (episode,) = play(player, make, [seed], batch_size=1, keep_frames=True)
        if episode.error is not None:
            raise SettingError(f"the expert's episode {episode.seed} of {env.id} crashed: {episode.error}")
        for turn, stumbled in zip(episode.turns, player.stumbles, strict=True) if episode.success else ():
            assert turn.frame is not None
            if not stumbled:
                picture = zlib.compress(turn.frame.tobytes(), 1)
                turns.append(PlayedTurn(turn.prompt, turn.text, picture, turn.frame.shape))
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
        count, noise = settings.sft.episodes, settings.sft.noise
        seeds = [settings.training_seed("demonstration", index) for index in range(count)]
        chunks = [seeds[start : start + EPISODES_AT_A_TIME] for start in range(0, count, EPISODES_AT_A_TIME)]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        processes = min(settings.threads or cores, len(chunks))
        if processes > 1:  # started afresh: a copy of this process would hold a copy of its threads' locks
            with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
                played = list(pool.map(play_turns, repeat(settings.env), chunks, repeat(noise)))
        else:
            played = [play_turns(settings.env, chunk, noise) for chunk in chunks]
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
