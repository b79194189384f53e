"""Settings: presets are valid, mistakes are named, what is printed is read back."""

import tomllib
from pathlib import Path

import pytest

from gtr_agent.config import load_settings, preset_names, settings_to_toml, validate_settings
from gtr_envs.episode import EVAL_SEED_BASE
from gtr_envs.errors import SettingError


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_survives_being_written(name: str) -> None:
    settings = load_settings(name)
    assert validate_settings(tomllib.loads(settings_to_toml(settings))) == settings


def test_the_presets_of_the_quickstart_are_there() -> None:
    assert {"tiny-points24", "tiny-points24-search"} <= set(preset_names())


def test_overrides_take_toml_values_and_plain_text() -> None:
    settings = load_settings(
        "tiny-points24",
        overrides=["ppo.learning_rate=1e-5", "method=ppo", "env.options.split='all'", "ppo.value_hidden=[8, 4]"],
    )
    assert settings.ppo.learning_rate == 1e-5
    assert settings.method == "ppo"
    assert settings.env.options["split"] == "all"
    assert settings.ppo.value_hidden == (8, 4)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("ppo.learning_rat=1", ["ppo.learning_rat", "learning_rate"]),
        ("pppo.epochs=1", ["pppo", "ppo"]),
        ("ppo.epochs=0", ["ppo.epochs=0", "greater"]),
        ("ppo.epochs=many", ["ppo.epochs='many'", "integer"]),
        ("method=sarsa", ["method='sarsa'", "gtr-turbo-kl"]),
        ("ppo.epochs", ["section.key=value"]),
        ("ppo=3", ["ppo=3", "section", "ppo.KEY=VALUE"]),
        ("method.name=1", ["method"]),
        ("ppo.batch_size=100000", ["ppo.batch_size=100000", "rollout.turns"]),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(override: str, words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        load_settings("tiny-points24", overrides=[override])
    assert all(word in str(caught.value) for word in words)


def test_unknown_presets_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="tiny-points24"):
        load_settings("huge")
    with pytest.raises(SettingError, match="cannot read"):
        load_settings(file=tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("method = \n")
    with pytest.raises(SettingError, match="is no TOML"):
        load_settings(file=broken)
    with pytest.raises(SettingError, match="not both"):
        load_settings("tiny-points24", broken)


def test_training_seeds_never_meet_evaluation_seeds_or_each_other() -> None:
    last = load_settings("tiny-points24", overrides=["seed=900"])
    assert last.training_seed("monitor", 999_999) < EVAL_SEED_BASE
    assert last.training_seed("rollout", 999_999) < last.training_seed("monitor", 0)
