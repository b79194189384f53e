"""Settings that have no effect are named, where they were asked for."""

from pathlib import Path

import pytest

from gtr_agent.config import load_settings, preset_names, validate_settings
from gtr_agent.idle import idle_notes, idle_settings
from gtr_agent.settings import Settings
from gtr_envs.errors import SettingError


@pytest.mark.parametrize(
    ("overrides", "idle", "cause"),
    [
        (["ppo.ratio=token", "ppo.thought_coef=0.1"], "ppo.thought_coef", "ppo.ratio='token'"),
        (["method=ppo", "guidance.beta=1"], "guidance.beta", "method='ppo'"),
        (["guidance.beta=1", "method=gtr-turbo-sft"], "guidance.beta", "method='gtr-turbo-sft'"),
        (["method=gtr", "merge.density=0.2"], "merge.density", "method='gtr'"),
        (["method=opd", "guidance.teacher=a/b", "ppo.gamma=0.5"], "ppo.gamma", "method='opd'"),
        (["guidance.teacher=a/b"], "guidance.teacher", "method='gtr-turbo-kl'"),
        (["imitation.weight=2.0"], "imitation.weight", "method='gtr-turbo-kl'"),
        (["merge.weights=sma", "merge.ema_alpha=0.1"], "merge.ema_alpha", "merge.weights='sma'"),
        (["method=gtr", "corrector.max_cost=1.0"], "corrector.max_cost", "corrector.kind='solver'"),
        (["model.adapter=none"], "model.adapter", "method='gtr-turbo-kl'"),
        (["ppo.micro_batch_tokens=512", "ppo.micro_batch_size=2"], "ppo.micro_batch_size", "micro_batch_tokens=512"),
        (["method=sft", "sft.noise=0.2"], "sft.noise", "usual Points24"),
    ],
)
def test_an_override_without_effect_is_refused(overrides: list[str], idle: str, cause: str) -> None:
    with pytest.raises(SettingError, match="has no effect with") as found:
        load_settings("tiny-points24", overrides=overrides)
    assert idle in str(found.value)
    assert cause in str(found.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=ppo"],
        ["method=gtr-turbo-sft", "imitation.weight=2.0", "merge.density=0.2"],
        ["method=opd", "guidance.teacher=a/b", "guidance.beta=1"],
        ["method=gtr", "corrector.kind=endpoint", "corrector.model=m", "corrector.retries=1"],
        ["method=sft", "env.options.hands=all", "env.id=gtr/NumberLine-v0", "sft.noise=0.2"],
        ["sft.noise=0.2"],
    ],
)
def test_what_has_an_effect_or_stands_in_a_preset_is_taken(overrides: list[str]) -> None:
    load_settings("tiny-points24", overrides=overrides)


def test_a_run_s_own_file_is_read_again_whatever_its_method(tmp_path: Path) -> None:
    from gtr_agent.config import settings_to_toml

    settings = load_settings("tiny-points24", overrides=["method=ppo"])
    (tmp_path / "config.toml").write_text(settings_to_toml(settings))
    assert load_settings(None, tmp_path / "config.toml") == settings


def test_a_file_s_idle_settings_are_noted_but_not_for_the_method() -> None:
    settings = validate_settings(
        {"method": "ppo", "ppo": {"ratio": "token", "thought_coef": 0.1}, "guidance": {"beta": 3}}
    )
    assert idle_notes(settings) == ["note: ppo.thought_coef has no effect with ppo.ratio='token'"]
    assert "guidance" in idle_settings(settings)
    assert idle_notes(Settings()) == []


@pytest.mark.parametrize("name", preset_names())
def test_no_preset_says_what_has_no_effect(name: str) -> None:
    assert idle_notes(load_settings(name)) == []


@pytest.mark.parametrize(
    "override",
    [
        "ppo.value_hidden=[0]",
        "ppo.value_hidden=[8, -1]",
        "ppo.learning_rate=inf",
        "ppo.learning_rate=-1e-4",
        "rollout.format_reward=nan",
        "merge.density=0",
        "merge.density=1.1",
        "merge.ema_alpha=0",
        "guidance.beta=-1",
        "imitation.share=0",
        "sft.noise=1",
        "ppo.clip_range=0",
    ],
)
def test_values_out_of_bounds_are_named(override: str) -> None:
    with pytest.raises(SettingError, match=override.partition("=")[0].replace(".", r"\.")):
        load_settings("tiny-points24", overrides=[override])
