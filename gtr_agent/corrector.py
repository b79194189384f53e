"""Who corrects the agent's thoughts in ``gtr``: the environment's expert, a model behind an endpoint, or a checkpoint.

The agent plays its own actions; a corrector says for each turn what should have been thought, and the agent learns
that thought beside PPO. The corrections of all updates pile up, as in DAgger (https://arxiv.org/abs/1011.0686).

Source: GTR (https://arxiv.org/abs/2503.08525). A correction ends with the agent's own action where that could be read;
it stands there to complete the answer and is not to be learned: the guidance is of thoughts alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gtr_agent.chat_client import EndpointOptions
from gtr_agent.corrector_prompt import correction_prompt
from gtr_agent.endpoint import Endpoint
from gtr_agent.precision import Wish
from gtr_agent.settings import CorrectorSettings, EnvSettings
from gtr_envs.episode import Policy, Request
from gtr_envs.errors import SettingError
from gtr_envs.experts import SolverPolicy, ThoughtStyle, demonstrator, knows_a_way
from gtr_envs.protocol import Answer, AnswerStatus, write_answer

CACHE_FOLDER = "corrections"
"""Where an endpoint's replies are in the run's folder, if the settings name no other place."""
BATCH_SIZE = 64
"""Turns that a checkpoint answers side by side."""


@dataclass(frozen=True)
class Counts:
    """What a corrector did so far, for metrics; the endpoint's part is of this process alone.

    Attributes:
        asked: turns that were to be corrected.
        corrected: turns that were.
        silent: turns on which the corrector had nothing to say.
        unreadable: turns for which a reply came that could not be read.
        cached: turns whose reply was paid for before.
        calls: requests to the endpoint.
        failed: those of them that brought no reply.
        tokens_in: tokens of questions that were paid for, failed attempts included.
        tokens_out: tokens of answers that were paid for, failed attempts included.
        cost: USD for them.
        spent: USD for all that is in the cache, earlier parts of the run included; this process's share of it.
    """

    asked: int = 0
    corrected: int = 0
    silent: int = 0
    unreadable: int = 0
    cached: int = 0
    calls: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    spent: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens that were paid for, of questions and answers."""
        return self.tokens_in + self.tokens_out

    def since(self, before: Counts) -> dict[str, float]:
        """What was done since earlier counts, as metrics; ``spent`` is over all."""
        names = ("silent", "unreadable", "cached", "calls", "failed", "tokens_in", "tokens_out", "cost")
        found = {f"corrector_{name}": float(getattr(self, name) - getattr(before, name)) for name in names}
        return {**found, "corrector_spent": self.spent}


class Corrector(ABC):
    """Corrects thoughts."""

    def __init__(self) -> None:
        self._counts = Counts()

    @property
    def counts(self) -> Counts:
        """What was asked and corrected so far."""
        return self._counts

    def correct(
        self, requests: Sequence[Request], answers: Sequence[str], rng: np.random.Generator
    ) -> list[str | None]:
        """Correct the thoughts of turns.

        Args:
            requests: what the agent was asked.
            answers: what it answered.
            rng: the source of what a sampling corrector draws.

        Returns:
            for each turn the answer with the corrected thought and, where it could be read, the agent's own action;
            None where the corrector said nothing or its reply could not be read. ``task.read(text, info)`` reads each
            of them strictly.
        """
        replies = self._replies(requests, answers, rng)
        turns = zip(requests, answers, replies, strict=True)
        corrected = [
            corrected_answer(request, answer, reply) if reply is not None else None for request, answer, reply in turns
        ]
        n_corrected, n_silent = sum(text is not None for text in corrected), replies.count(None)
        old = self._counts
        self._counts = replace(
            old,
            asked=old.asked + len(corrected),
            corrected=old.corrected + n_corrected,
            silent=old.silent + n_silent,
            unreadable=old.unreadable + len(corrected) - n_corrected - n_silent,
        )
        return corrected

    def close(self) -> None:
        """Give back what is held."""
        return None

    @abstractmethod
    def _replies(
        self, requests: Sequence[Request], answers: Sequence[str], rng: np.random.Generator
    ) -> list[str | None]:
        """What the corrector says of each turn, in the task's own form; None where it says nothing."""


class PolicyCorrector(Corrector):
    """Corrects by what a policy would have answered in the same place.

    Args:
        policy: the environment's expert, or a model.
        has_a_say: whether it is asked about a turn; None for every turn.
    """

    def __init__(self, policy: Policy, has_a_say: Callable[[Request], bool] | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.has_a_say = has_a_say

    def _replies(
        self, requests: Sequence[Request], answers: Sequence[str], rng: np.random.Generator
    ) -> list[str | None]:
        seeds = rng.integers(2**63, size=len(requests))
        # The agent has drawn from the requests' own generators by now, and more or less of them if it is run anew.
        asked = [
            replace(request, rng=np.random.default_rng(int(seed)))
            for request, seed in zip(requests, seeds, strict=True)
        ]
        places = [place for place, request in enumerate(asked) if self.has_a_say is None or self.has_a_say(request)]
        replies: list[str | None] = [None] * len(asked)
        for start in range(0, len(places), BATCH_SIZE):
            piece = places[start : start + BATCH_SIZE]
            responses = self.policy.act([asked[place] for place in piece])
            for place, response in zip(piece, responses, strict=True):
                replies[place] = response.text
        return replies


class EndpointCorrector(Corrector):
    """Corrects by asking a model behind an OpenAI-compatible endpoint.

    Args:
        endpoint: where it is; closed with the corrector.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self.endpoint = endpoint

    @property
    def counts(self) -> Counts:
        """What was asked, corrected and paid so far."""
        usage = self.endpoint.costs.usage
        return replace(
            self._counts,
            calls=usage.calls,
            failed=usage.failed,
            tokens_in=usage.prompt_tokens,
            tokens_out=usage.completion_tokens,
            cost=usage.cost,
            spent=self.endpoint.costs.spent,
        )

    def close(self) -> None:
        """End the endpoint's connections."""
        self.endpoint.close()

    def _replies(
        self, requests: Sequence[Request], answers: Sequence[str], rng: np.random.Generator
    ) -> list[str | None]:
        turns = zip(requests, answers, strict=True)
        replies = self.endpoint.ask([correction_prompt(request, answer) for request, answer in turns])
        self._counts = replace(self._counts, cached=self._counts.cached + sum(reply.cached for reply in replies))
        return [reply.text for reply in replies]


def corrected_answer(request: Request, answer: str, reply: str) -> str | None:
    """An agent's answer with the corrector's thought, or None if the reply could not be read.

    Args:
        request: what the agent was asked.
        answer: what it answered.
        reply: what the corrector said, in the task's form, read as leniently as an agent's answer.

    Returns:
        the canonical text of the corrected answer. Fields other than the action are the corrector's: what was seen is
        part of the thought.
    """
    task, info = request.task, request.info
    said = task.read(reply, info)
    if said.status is AnswerStatus.INVALID or not _is_whole(task.keys, said):
        return None
    action = task.read(answer, info).action or said.action
    fields = {key: said.fields[key] for key in task.keys if key != "action"}
    # JSON can spell halves of characters, which no tokenizer takes.
    text = write_answer({**fields, "action": action}).encode("utf-8", "replace").decode("utf-8")
    # Read again as the trainer will read it, so that what cannot be learned from is found here.
    return text if task.read(text, info).status is AnswerStatus.STRICT else None


def _is_whole(keys: Sequence[str], said: Answer) -> bool:
    """Whether a reply has all that an answer has, each in the form in which the agent writes it."""
    fields: Mapping[str, Any] = said.fields
    if not all(key in fields for key in keys) or not said.thoughts.strip():
        return False
    return all(_FORMS.get(key, _is_text)(fields[key]) for key in keys if key != "action")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_FORMS = {
    "cards": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "player": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "target": _is_number,
    "current": _is_number,
}
"""What fields that are not text look like; a thought in another form would teach the agent to answer unreadably."""


def make_corrector(
    settings: CorrectorSettings,
    env: EnvSettings,
    folder: Path,
    thoughts: ThoughtStyle = "chain",
    processes: int = 1,
    device: str = "auto",
    precision: Wish = "auto",
) -> Corrector:
    """The corrector that the settings name.

    Args:
        settings: who corrects.
        env: where the agent plays.
        folder: the run's, for the cache of an endpoint's replies.
        thoughts: how a solver thinks aloud; as the agent learned it in its warm start.
        processes: how many processes the run has; each may spend its share of ``max_cost``.
        device: where a checkpoint goes.
        precision: in which a checkpoint computes, as the run does.

    Raises:
        SettingError: settings that do not go together, or no key for the endpoint.
        UnknownEnvironmentError: no expert plays the environment.
        CheckpointError: there is no agent in the folder, or it is damaged.
        MissingExtraError: the package ``openai`` is not installed.
    """
    if settings.kind == "solver":
        expert = demonstrator(env.id)
        policy = SolverPolicy(thoughts) if isinstance(expert, SolverPolicy) else expert
        # "Out of reach" is no thought that a warm start on won episodes has taught. A small model that learns it here
        # learns to write at random: with it 16.5% and 20.5% of trained hands after 6 updates (two seeds), without it
        # 30.0% and 28.5%.
        return PolicyCorrector(policy, has_a_say=knows_a_way)
    if not settings.model:
        raise SettingError(f"corrector.kind={settings.kind!r} needs corrector.model")
    if settings.kind == "checkpoint":
        from gtr_agent.policy import load_policy

        greedy = settings.temperature == 0
        temperature = None if greedy else settings.temperature
        return PolicyCorrector(
            load_policy(settings.model, temperature=temperature, greedy=greedy, precision=precision, device=device)
        )
    cache = Path(settings.cache) if settings.cache else folder / CACHE_FOLDER
    options = EndpointOptions(cache=cache, **settings.model_dump(exclude={"kind", "cache"}))
    return EndpointCorrector(Endpoint(options, processes))
