"""The collapse alarm: which of an update's metrics say that training has gone wrong, and what to try.

A limit that is passed once is chance; one that is passed ``patience`` updates in a row is named in a sentence. Some
limits are absolute, others a share of the metric's first value in the run, because what is usual depends on model,
temperature and task. The limits are rules of thumb, no results: ``docs/metrics.md`` lists them beside the metrics.

Nothing here warns or stops; the caller does. Thought collapse is described in GTR (https://arxiv.org/abs/2503.08525).
The frozen teacher is the defect of GTR-Turbo's released code, whose merge after the first update changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gtr_envs.errors import CheckpointError, GtrError, SettingError


class CollapseError(GtrError):
    """The agent collapsed, and the run was to stop then."""


@dataclass(frozen=True)
class AlarmLimits:
    """When a metric counts as collapsed. None switches a limit off.

    Attributes:
        patience: updates in a row that a limit has to be passed.
        thought_entropy_min: the entropy of thought tokens has to be above this, nats.
        thought_entropy_share: least entropy of thought tokens, as a share of its first value.
        distinct_2_share: least distinct-2 of all thoughts, as a share of its first value.
        thought_tokens_share: least length of thoughts, as a share of its first value.
        top_thought_max: largest share of states with one and the same thought.
        invalid_max: largest share of answers that cannot be read.
        cut_off_max: largest share of answers that reach the length limit.
        teacher_change_min: a merge has to move the teacher by more than this (Frobenius norm).
        teacher_distance_min: teacher and agent have to be further apart than this (Frobenius norm).
        ratio_at_start_max: largest distance of a PPO ratio from 1 before the first step.
        approx_kl_max: largest KL from the agent before the update to the agent within it, nats.
        explained_variance_min: the value head has to explain more than this share of the returns' variance.

    Raises:
        SettingError: a limit out of range.
    """

    patience: int = 2
    thought_entropy_min: float | None = 0.001
    thought_entropy_share: float | None = 0.2
    distinct_2_share: float | None = 0.3
    thought_tokens_share: float | None = 0.3
    top_thought_max: float | None = 0.5
    invalid_max: float | None = 0.5
    cut_off_max: float | None = 0.5
    teacher_change_min: float | None = 0.0
    teacher_distance_min: float | None = 0.0
    ratio_at_start_max: float | None = 0.2
    approx_kl_max: float | None = 0.3
    explained_variance_min: float | None = -0.5

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise SettingError(f"patience={self.patience} is not allowed; give 1 update or more")
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name == "patience":
                continue
            low, high = _RANGES.get(field.name, (0.0, math.inf))
            if not low <= value <= high or not math.isfinite(value):
                above = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"a number of {low:g} or more"
                raise SettingError(f"{field.name}={value} is not allowed; give {above}, or None for no such limit")


_RANGES = {
    **dict.fromkeys(("thought_entropy_share", "distinct_2_share", "thought_tokens_share"), (0.0, 1.0)),
    **dict.fromkeys(("top_thought_max", "invalid_max", "cut_off_max"), (0.0, 1.0)),
    "explained_variance_min": (-1e9, 1.0),
}


@dataclass(frozen=True)
class Rule:
    """What one limit means.

    Attributes:
        limit: its name in `AlarmLimits`, the metric's and how it is meant: above ``_min`` and up to ``_max`` is well;
            ``_share`` is a share of the metric's first value, below which it should not fall.
        unit: of the metric, as it is written behind a figure.
        meaning: what it says of the agent.
        advice: what to try.
    """

    limit: str
    unit: str
    meaning: str
    advice: str

    @property
    def metric(self) -> str:
        return self.limit.rpartition("_")[0]

    @property
    def kind(self) -> str:
        return self.limit.rpartition("_")[2]


_CALMER = "try a smaller ppo.learning_rate or a larger guidance.beta, and go back to a checkpoint from before"

RULES = (
    Rule("thought_entropy_min", " nats", "thoughts are written with hardly any choice left", _CALMER),
    Rule("thought_entropy_share", " nats", "thoughts are written with ever less choice", _CALMER),
    Rule("distinct_2_share", "", "thoughts repeat the same pairs of words", _CALMER),
    Rule("thought_tokens_share", " tokens", "thoughts have become short", _CALMER),
    Rule("top_thought_max", "", "one thought is given in state after state, whatever the picture shows", _CALMER),
    Rule(
        "invalid_max",
        "",
        "most answers cannot be read",
        "try a longer warm start (sft.steps), a rollout.format_reward above 0 or a smaller ppo.learning_rate",
    ),
    Rule(
        "cut_off_max",
        "",
        "answers run on until they are cut off",
        "try a larger rollout.max_new_tokens, or a longer warm start (sft.steps) if they ramble",
    ),
    Rule(
        "teacher_change_min",
        "",
        "the teacher is frozen: merging does not change it",
        "see whether the agent learns at all (gradient_norm, ppo.learning_rate), and report it if it does",
    ),
    Rule(
        "teacher_distance_min",
        "",
        "the teacher is the agent itself and cannot guide it",
        'try merge.weights="sma" or a merge.ema_alpha below 1, and see whether the agent learns (gradient_norm)',
    ),
    Rule(
        "ratio_at_start_max",
        "",
        "answers are not scored as they were sampled, so the policy's gradient is wrong",
        'try model.lora_dropout=0 and model.precision="float32"',
    ),
    Rule(
        "approx_kl_max",
        " nats",
        "the policy moves too far in one update",
        "try a smaller ppo.learning_rate, fewer ppo.epochs or a smaller ppo.clip_range",
    ),
    Rule(
        "explained_variance_min",
        "",
        "the value head is worse than none, and so are the advantages",
        "try a smaller ppo.value_learning_rate or more ppo.value_warmup_steps",
    ),
)


class CollapseAlarm:
    """Watches the metrics of a run, update by update.

    Args:
        limits: what counts as collapsed.
    """

    def __init__(self, limits: AlarmLimits | None = None) -> None:
        self.limits = limits or AlarmLimits()
        self._first: dict[str, float] = {}  # metric -> its first value in this run
        self._streaks: dict[str, list[int]] = {}  # limit -> [the update that passed it first, how many did in a row]

    def check(self, update: int, metrics: Mapping[str, float]) -> list[str]:
        """Take in an update's metrics and name what has collapsed.

        Args:
            update: its number.
            metrics: as logged. One that is missing, as the teacher's between two merges, says nothing either way.

        Returns:
            a sentence for each limit that was passed in ``patience`` updates in a row, again at each update while it
            lasts: the figure, the limit, what it means, what to try. A metric that is not finite passes its limits.
        """
        found = []
        for rule in RULES:
            value, limit = metrics.get(rule.metric), getattr(self.limits, rule.limit)
            if value is None or limit is None:
                continue
            if math.isfinite(value):
                self._first.setdefault(rule.metric, float(value))
            if not self._passes(rule, value, limit):
                self._streaks.pop(rule.limit, None)
                continue
            streak = self._streaks.setdefault(rule.limit, [int(update), 0])
            streak[1] += 1
            if streak[1] >= self.limits.patience:
                found.append(self._sentence(rule, value, limit, *streak))
        return found

    def state(self) -> dict[str, Any]:
        """What the alarm remembers, as plain JSON; the limits are not part of it."""
        return {"first": dict(self._first), "streaks": {name: list(streak) for name, streak in self._streaks.items()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave.

        Raises:
            CheckpointError: it is damaged or something else. The alarm stays as it was.
        """
        try:
            first = {str(name): float(value) for name, value in state["first"].items()}
            streaks = {str(name): [int(since), int(count)] for name, (since, count) in state["streaks"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the collapse alarm cannot go on from {state!r}: it needs the state that it saved, with 'first' and "
                "'streaks'; resume from another checkpoint"
            ) from error
        self._first, self._streaks = first, streaks

    def _passes(self, rule: Rule, value: float, limit: float) -> bool:
        if not math.isfinite(value):
            return True
        if rule.kind == "max":
            return value > limit
        if rule.kind == "share":
            return value < limit * self._first[rule.metric]
        return value <= limit  # a teacher that does not move at all passes a limit of 0

    def _sentence(self, rule: Rule, value: float, limit: float, since: int, count: int) -> str:
        if not math.isfinite(value):
            against = "which is no number to train with"
        elif rule.kind == "max":
            against = f"above its limit {limit:.3g}{rule.unit}"
        elif rule.kind == "share":
            first = self._first[rule.metric]
            against = f"below {limit:.3g} of its first value {first:.3g}{rule.unit}"
        else:
            against = f"not above its limit {limit:.3g}{rule.unit}"
        many = f"{count} update{'s' * (count > 1)} in a row, since update {since}"
        return f"{rule.metric} is {value:.3g}{rule.unit}, {against} ({many}): {rule.meaning}; {rule.advice}."
