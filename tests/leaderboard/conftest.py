"""Agents and evaluations for the tests: real environments, made-up answers, no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from gtr_envs.episode import Policy, Request, Response
from gtr_envs.experts import RandomPolicy
from gtr_envs.protocol import write_answer
from leaderboard.agents import AgentCard
from leaderboard.evaluate import evaluate
from leaderboard.summary import Result

from .browser import artefacts, browser_page, chromium  # noqa: F401 - fixtures

POINTS24 = "gtr/Points24-v0"
ALFWORLD = "gtr/ALFWorld-v0"


def add_broken_game(root: Path, task: str, split: str = "train") -> Path:
    """A game of the ALFWorld data set's layout with nothing in it to play: it is found, and crashes at its start."""
    folder = root / "json_2.1.1" / split / task / "trial_A"
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text("{oops [/b]")
    (folder.parent.parent / f".{task}").touch()  # a split's folder that changed is looked through again
    return folder / "game.tw-pddl"


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two games of train and one of valid_seen, all of them broken."""
    monkeypatch.setenv("GTR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    for task in ("pick_and_place_simple-Mug-None-SideTable-329", "look_at_obj_in_light-Book-None-DeskLamp-328"):
        add_broken_game(tmp_path / "data", task)
    add_broken_game(tmp_path / "data", "pick_and_place_simple-Mug-None-SideTable-329", "valid_seen")
    return tmp_path / "data"


class SayingPolicy:
    """Plays a random number, operator or '=' and thinks a given text; counts its calls."""

    name = "saying"

    def __init__(self, thought: str = "hm", interrupt_at: int | None = None) -> None:
        self.thought = thought
        self.interrupt_at = interrupt_at
        self.calls = 0

    def act(self, requests: Sequence[Request]) -> list[Response]:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Response:
        actions = request.task.allowed(request.info)
        action = actions[int(request.rng.integers(len(actions)))]
        fields = {"cards": list(request.info["numbers"]), "formula": "", "thoughts": self.thought, "action": action}
        return Response(write_answer(fields), tokens=7, thought_tokens=5)


class Evaluate(Protocol):
    """What the ``evaluation`` fixture gives."""

    def __call__(self, policy: Policy | None = None, n_episodes: int = 6, **changes: Any) -> Result: ...


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluate:
    """Evaluate a policy into ``tmp_path/results``; by default the random one on six hands."""
    return evaluate_into(tmp_path / "results")


def evaluate_into(folder: Path) -> Evaluate:
    """What evaluates a policy into a folder of results; by default the random one on six hands."""

    def run(policy: Policy | None = None, n_episodes: int = 6, **changes: Any) -> Result:
        policy = policy or RandomPolicy()
        agent = changes.pop("agent", AgentCard(policy.name, "random", method="random"))
        arguments = {"seed": 0, "out_dir": folder, "batch_size": 4, **changes}
        options = arguments.pop("options", {})
        return evaluate(policy, POINTS24, options, agent=agent, n_episodes=n_episodes, **arguments)

    return run
