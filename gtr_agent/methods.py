"""The methods, one setting apart: who teaches, and which terms the teacher adds.

All share collecting, scoring and updating; a method is a line of this table, not a loop of its own.

Sources: PPO on a vision-language model, RL4VLM (https://arxiv.org/abs/2405.10292); GTR
(https://arxiv.org/abs/2503.08525); GTR-Turbo (https://arxiv.org/abs/2512.13043); On-Policy Distillation (Thinking
Machines, October 2025, https://thinkingmachines.ai/blog/on-policy-distillation/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gtr_agent.settings import Method

TeacherKind = Literal["none", "merged", "corrector", "checkpoint"]


@dataclass(frozen=True)
class Terms:
    """What makes up a method.

    Attributes:
        teacher: nobody, the merge of the run's checkpoints, a corrector of thoughts, or a given checkpoint.
        guides: the teacher's KL joins the reward or the advantage.
        imitates: the agent also learns the teacher's thoughts, by supervision.
        distils: the per-token KL is the whole advantage; reward and values play no part.
    """

    teacher: TeacherKind = "none"
    guides: bool = False
    imitates: bool = False
    distils: bool = False


METHODS: dict[Method, Terms] = {
    "ppo": Terms(),
    "gtr": Terms("corrector", imitates=True),
    "opd": Terms("checkpoint", distils=True),
    "gtr-turbo-sft": Terms("merged", imitates=True),
    "gtr-turbo-kl": Terms("merged", guides=True),
}
"""All but ``sft``, which is the warm start alone."""
