"""Settings that have no effect beside others: an ablation that changes one of them would compare a thing with itself.

Given on the command line such a setting is an error. In a file or a preset it may stand, as one file serves several
methods; only what is idle for another reason than the method is named at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gtr_agent.settings import Settings
from gtr_envs.errors import SettingError

ENDPOINT_ONLY = (
    *("base_url", "cache", "offline", "concurrency", "retries", "timeout_s", "max_tokens"),
    *("price_in", "price_out", "max_cost"),
)
REWARD_ONLY = (
    *("ratio", "thought_coef", "gamma", "gae_lambda", "whiten_advantages"),
    *("value_coef", "value_hidden", "value_learning_rate", "value_warmup_steps", "value_detach"),
)


def idle_settings(settings: Settings) -> dict[str, str]:
    """The settings that have no effect, by name, each with the setting that takes it; a section stands for all of it.

    The warm start's settings count for ``method="sft"`` alone: a file usually holds both steps.
    """
    if settings.method == "sft":
        return dict(_idle_in_warm_start(settings))
    return dict([*_idle_by_method(settings), *_idle_by_others(settings)])


def check_overrides(settings: Settings, names: Iterable[str]) -> None:
    """Refuse settings that were given one by one and have no effect.

    Args:
        settings: all of them.
        names: of those that were given, such as ``guidance.beta``.

    Raises:
        SettingError: one is idle; the message names it and what makes it so.
    """
    idle = idle_settings(settings)
    for name in names:
        cause = idle.get(name) or idle.get(name.partition(".")[0])
        if cause is not None:
            raise SettingError(f"{name} has no effect with {cause}; leave it out, or change the other")


def idle_notes(settings: Settings) -> list[str]:
    """A line for each setting that is not as usual and has no effect, whatever the method."""
    by_method = dict(_idle_by_method(settings)) if settings.method != "sft" else {}
    found = {name: cause for name, cause in idle_settings(settings).items() if name not in by_method}
    usual = Settings()
    return [
        f"note: {name} has no effect with {cause}"
        for name, cause in found.items()
        if name.partition(".")[0] not in by_method and _value(settings, name) != _value(usual, name)
    ]


def _value(settings: Settings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)


def _all(section: str, keys: Sequence[str], cause: str) -> Iterator[tuple[str, str]]:
    return ((f"{section}.{key}", cause) for key in keys)


def _idle_by_method(settings: Settings) -> Iterator[tuple[str, str]]:
    """What a method leaves out."""
    from gtr_agent.methods import METHODS

    terms, cause = METHODS[settings.method], f"method={settings.method!r}"
    yield "model.adapter", cause  # the warm start's: reinforcement learning always trains an adapter
    if not (terms.guides or terms.distils):
        yield "guidance", cause
    elif not terms.distils:
        yield "guidance.teacher", cause
    if terms.distils:
        yield from _all("guidance", ("estimator", "direction", "scope", "place"), cause)
        yield from _all("ppo", REWARD_ONLY, cause)
    if terms.teacher != "merged":
        yield "merge", cause
        yield "imitation.greedy", cause
    if not terms.imitates:
        yield "imitation", cause
    if terms.teacher != "corrector":
        yield "corrector", cause


def _idle_by_others(settings: Settings) -> Iterator[tuple[str, str]]:
    """What other settings than the method leave out."""
    if settings.ppo.micro_batch_tokens:
        yield "ppo.micro_batch_size", f"ppo.micro_batch_tokens={settings.ppo.micro_batch_tokens}"
    if settings.ppo.ratio == "token":
        yield "ppo.thought_coef", "ppo.ratio='token'"
    if settings.merge.method == "linear":
        yield "merge.density", "merge.method='linear'"
    if settings.merge.weights == "sma":
        yield "merge.ema_alpha", "merge.weights='sma'"
    kind = settings.corrector.kind
    if kind != "endpoint":
        yield from _all("corrector", ENDPOINT_ONLY, f"corrector.kind={kind!r}")
    if kind == "solver":
        yield from _all("corrector", ("model", "temperature"), "corrector.kind='solver'")
    if settings.alarm.action == "off":
        yield "alarm.patience", "alarm.action='off'"


def _idle_in_warm_start(settings: Settings) -> Iterator[tuple[str, str]]:
    from gtr_agent.demonstrations import is_usual_points24

    if is_usual_points24(settings):
        yield from _all("sft", ("episodes", "noise"), "the usual Points24 (env.id, env.options), which is drawn anew")
    else:
        yield "sft.first_turn_share", "env.id and env.options other than the usual Points24's"
    if settings.sft.thoughts == "chain":
        yield "sft.chain_steps", "sft.thoughts='chain'"
