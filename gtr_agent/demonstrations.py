"""Turns of the solver's episodes, as examples to learn from.

A warm start needs very many of them, so they are not played one after the other: each is drawn on the spot, a hand as
the environment deals it, one of the ways to win it, and a place on that way. That is what an episode of the solver
passes through, without the episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gtr_agent.settings import Settings
from gtr_envs.cards.chain import OPERATORS, last_reductions, plans, whole_result
from gtr_envs.cards.deal import deal
from gtr_envs.cards.draw import draw_frame
from gtr_envs.cards.hands import card_value
from gtr_envs.cards.search import FAILS, WORKS
from gtr_envs.errors import SettingError
from gtr_envs.experts import USUAL_GAME, ThoughtStyle, points24_answer
from gtr_envs.tasks import task_for

if TYPE_CHECKING:
    from gtr_agent.played import PlayedDemonstrations


@dataclass(frozen=True)
class Demonstration:
    """One turn of the solver. ``frame`` is (height, width, 3) uint8, or None where only the answer is learned."""

    prompt: str
    text: str
    frame: np.ndarray | None


class Points24Demonstrations:
    """Draws turns of the solver on Points24.

    Args:
        settings: say which hands the environment deals, and how often the first turn is drawn.
        thoughts: how the solver thinks aloud.
        rng: the source of all randomness.
    """

    def __init__(self, settings: Settings, thoughts: ThoughtStyle, rng: np.random.Generator) -> None:
        options = settings.env.options
        self.hands = options.get("hands", "solvable")
        self.split = options.get("split", "all")
        self.image_size = options.get("image_size", 300)
        self.theme = options.get("theme", "classic")
        self.first_turn_share = settings.sft.first_turn_share
        self.thoughts = thoughts
        self.rng = rng
        self.task = task_for("gtr/Points24-v0")

    def draw(self, count: int, with_pictures: bool) -> list[Demonstration]:
        """That many turns, with or without their pictures."""
        return [self._draw(with_pictures) for _ in range(count)]

    def _draw(self, with_picture: bool) -> Demonstration:
        cards = deal(self.rng, self.hands, self.split)
        numbers = tuple(card_value(card) for card in cards)
        done = self._formula_so_far(numbers)
        text = points24_answer(numbers, done, self.thoughts, self.rng)
        frame = draw_frame(cards, done, self.image_size, self.theme) if with_picture else None
        return Demonstration(self.task.prompt({"formula": done}), text, frame)

    def _formula_so_far(self, numbers: tuple[int, ...]) -> tuple[str, ...]:
        """What is on the table: nothing, or the beginning of a random way to win."""
        ways = plans(numbers)
        if not ways or self.rng.random() < self.first_turn_share:
            return ()
        formula = ways[int(self.rng.integers(len(ways)))].formula
        return formula[: int(self.rng.integers(1, len(formula) + 1))]


class Points24Facts:
    """Draws pieces of thoughts: three values that a first reduction may leave, and how they make 24, or cannot.

    ``42 2 3; 42 / 2 = 21 3; 21 + 3 = 24`` or ``42 5 5 x``; half of them of each kind. They are about three values and
    name no hand; but any three values may come up, also those that a held-out hand can be brought to.

    Args:
        thoughts: with ``search`` the verdict ``y`` stands where it stands in a search.
        rng: the source of all randomness.
    """

    def __init__(self, thoughts: ThoughtStyle, rng: np.random.Generator) -> None:
        self.verdict = f" {WORKS}" if thoughts == "search" else ""
        self.rng = rng

    def draw(self, count: int) -> list[str]:
        """That many facts."""
        return [self._draw(solvable=bool(self.rng.random() < 0.5)) for _ in range(count)]

    def _draw(self, solvable: bool) -> str:
        while True:
            a, b, *left = (min(int(rank), 10) for rank in self.rng.integers(1, 14, size=4))
            result = whole_result(max(a, b), OPERATORS[int(self.rng.integers(4))], min(a, b))
            if result is None:
                continue
            ways = last_reductions((result, *left))
            if bool(ways) != solvable:
                continue
            values = f"{result} {left[0]} {left[1]}"
            if not ways:
                return f"{values} {FAILS}"
            second, third = ways[int(self.rng.integers(len(ways)))]
            return f"{values}{self.verdict}; {second}; {third}"


def is_usual_points24(settings: Settings) -> bool:
    """Whether the environment is Points24 as it is usually played, of which states can be drawn on the spot."""
    env = settings.env
    return env.id == "gtr/Points24-v0" and all(
        env.options.get(name, usual) == usual for name, usual in USUAL_GAME.items()
    )


def demonstrations_for(
    settings: Settings, thoughts: ThoughtStyle, rng: np.random.Generator
) -> Points24Demonstrations | PlayedDemonstrations:
    """The source of demonstrations for the settings' environment.

    Raises:
        UnknownEnvironmentError: no expert plays it.
        SettingError: a setting asks for what its demonstrations do not have.
    """
    from gtr_agent.played import PlayedDemonstrations

    if is_usual_points24(settings):
        return Points24Demonstrations(settings, thoughts, rng)
    if thoughts != "chain":
        raise SettingError(f"sft.thoughts={thoughts!r}: only the usual Points24 is thought through so; set it to chain")
    return PlayedDemonstrations(settings, rng)
