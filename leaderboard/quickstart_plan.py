"""What a quickstart is about to do, and how long that should take here."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from leaderboard.progress import in_words

if TYPE_CHECKING:
    from rich.console import Console

    from gtr_agent.settings import Settings

PRESET = "tiny-points24"
SPLITS = ("train", "test", "all")
START = "tiny:points24"
TURNS_AN_EPISODE = 7
"""What an agent that has learned something needs on average; for the estimate alone."""


@dataclass(frozen=True)
class Budget:
    """How much work is done: changes to the preset's settings, and episodes for each agent and split."""

    overrides: tuple[str, ...]
    n_episodes: int


BUDGETS = {
    "full": Budget((), 150),
    "toy": Budget(
        (
            "sft.steps=2",
            "sft.batch_size=4",
            "sft.text_batch_size=4",
            "sft.fact_batch_size=4",
            "sft.eval_every=0",
            "sft.eval_episodes=2",
            "rollout.num_envs=4",
            "rollout.turns=4",
            "rollout.max_new_tokens=6",
            "ppo.updates=2",
            "ppo.epochs=1",
            "ppo.batch_size=8",
        ),
        2,
    ),
}


class Plan:
    """What a quickstart is about to do, and how long it should take, told from the first steps that it does here.

    Args:
        seed: of training and evaluation, and of a model that is made from nothing.
        budget: how much work it is.
        from_scratch: whether the warm start is made, too.
        n_episodes: for each agent and split.
        terminal: where it speaks.
        precision: in which models compute; None for what the machine is fast in.

    Raises:
        SettingError: the seed is out of range.
        CheckpointError: the packaged start is missing or damaged.
    """

    def __init__(
        self,
        seed: int,
        budget: Budget,
        from_scratch: bool,
        n_episodes: int,
        terminal: Console,
        precision: str | None = None,
    ) -> None:
        from gtr_agent.packaged import packaged_folder
        from gtr_agent.start import settle_precision

        self.seed = seed
        self.budget = budget
        self.from_scratch = from_scratch
        self.n_episodes = n_episodes
        self.terminal = terminal
        self.told = False
        self.first_steps: list[tuple[int, float]] = []
        self.precision: Any = precision or "auto"
        self.precision = settle_precision(self.settings(START)).model.precision
        if not from_scratch:
            packaged_folder(START)

    def settings(self, base: str) -> Settings:
        """The preset's settings, with the budget's changes, for a model to begin from."""
        from gtr_agent.config import load_settings

        own = [f"seed={self.seed}", f"model.base={json.dumps(base)}", f"model.precision={self.precision}"]
        changes = [*own, *self.budget.overrides]
        return load_settings(PRESET, overrides=changes)

    def say(self, text: str, style: str = "") -> None:
        """A line, as wide as it is."""
        self.terminal.print(text, style=style, soft_wrap=True, highlight=False, markup=False)

    def announce(self) -> None:
        """Say what comes, and on which machine."""
        from gtr_agent.model import choose_device
        from gtr_agent.precision import device_name, explain_precision

        settings = self.settings(START)
        device = choose_device(settings.model.device)
        turns = settings.rollout.num_envs * settings.rollout.turns
        start = f"{START}, which comes with the package"
        if self.from_scratch:
            start = f"a tiny model with random weights learns the solver's answers in {settings.sft.steps:,} steps"
        place = f"{device_name(device)}, {os.cpu_count()} cores" if device == "cpu" else device_name(device)
        self.say(f"On {place}, in {explain_precision(self.precision, device)}:", "bold")
        self.say(f"  start        {start}")
        self.say(f"  training     GTR-Turbo (KL), {settings.ppo.updates} updates of {turns:,} turns")
        self.say(f"  evaluation   4 agents on {len(SPLITS)} kinds of hands, {self.n_episodes} episodes each")
        self.say("  leaderboard  a table, a CSV, pages with pictures")
        self.say("How long it should take here is told after the first steps.")

    def warm_start_recorded(self, step: int, metrics: dict[str, float]) -> None:
        """After some steps of the warm start: tell how long the rest of it should take."""
        if len(self.first_steps) == 2 or (self.first_steps and self.first_steps[-1][0] == step):
            return
        self.first_steps.append((step, time.monotonic()))
        if len(self.first_steps) == 2:
            (early, then), (late, now) = self.first_steps
            left = self.settings(START).sft.steps - late
            rest = (now - then) / (late - early) * left
            self.say(f"the warm start should take {in_words(rest)} more, then come training and evaluation")

    def update_recorded(self, number: int, metrics: dict[str, float]) -> None:
        """After the first update here: tell how long the rest should take."""
        if self.told:
            return
        self.told = True
        settings = self.settings(START)
        training = metrics["seconds"] * (settings.ppo.updates - number)
        turns = settings.rollout.num_envs * settings.rollout.turns
        played = 2 * len(SPLITS) * self.n_episodes * TURNS_AN_EPISODE  # by two models; the others take no time
        evaluation = metrics["seconds_collect"] * played / turns
        self.say(
            f"an update took {metrics['seconds']:.0f} s, so training should take {in_words(training)} more, "
            f"evaluation {in_words(evaluation)}"
        )
