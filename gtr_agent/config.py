"""The settings of a run: validated, and printed back whole into the run's folder.

A run's settings come from a preset or a TOML file, changed by ``--set section.key=value``. There is no inheritance
between files: a preset is one whole file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gtr_agent.idle import check_overrides
from gtr_agent.settings import Settings
from gtr_envs.errors import SettingError


def preset_names() -> list[str]:
    """The names of the presets that come with the package."""
    folder = resources.files("gtr_agent") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_settings(preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Read settings.

    Args:
        preset: the name of a preset that comes with the package.
        file: a TOML file instead of a preset.
        overrides: ``section.key=value`` each; the value is TOML, and what is no TOML is taken as text.

    Raises:
        SettingError: an unknown preset, file, key or value, or an override that has no effect; the message names it.
    """
    if preset is not None and file is not None:
        raise SettingError("give a preset or a configuration file, not both")
    content: dict[str, Any] = {}
    if preset is not None:
        if preset not in preset_names():
            raise SettingError(f"unknown preset {preset!r}; there are: {', '.join(preset_names())}")
        content = tomllib.loads((resources.files("gtr_agent") / "presets" / f"{preset}.toml").read_text("utf-8"))
    if file is not None:
        try:
            content = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise SettingError(f"cannot read the configuration {file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingError(f"{file} is no TOML: {error}") from error
    names = [_apply_override(content, override) for override in overrides]
    settings = validate_settings(content)
    check_overrides(settings, names)
    return settings


def validate_settings(content: dict[str, Any]) -> Settings:
    """Settings from plain values.

    Raises:
        SettingError: names the first few that are wrong, with what was given and what is allowed.
    """
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingError("; ".join(_explain(item) for item in error.errors()[:3])) from error


def _explain(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"]) or "settings"
    if item["type"] == "extra_forbidden":
        section: Any = Settings
        for part in item["loc"][:-1]:
            section = section.model_fields[str(part)].annotation
        return f"unknown setting {place}; known here: {', '.join(section.model_fields)}"
    if item["type"] == "model_type":
        return (
            f"{place}={item['input']!r}: {place} is a section of settings; give one of them, such as {place}.KEY=VALUE"
        )
    message = str(item["msg"]).removeprefix("Value error, ")
    if isinstance(item["input"], dict):  # about several settings of a section, which the message names
        return message if place == "settings" else f"{place}: {message}"
    return f"{place}={item['input']!r}: {message}"


def _apply_override(content: dict[str, Any], override: str) -> str:
    """Put one ``section.key=value`` into the plain values; returns the setting's name."""
    name, separator, text = override.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not separator or not all(keys):
        raise SettingError(f"--set {override!r} is not of the form section.key=value")
    target = content
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise SettingError(f"--set {override!r}: {key} is a setting, not a section")
    target[keys[-1]] = read_value(text)
    return ".".join(keys)


def read_value(text: str) -> Any:
    """A value given on the command line: TOML, and what is no TOML is taken as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def settings_to_toml(settings: Settings) -> str:
    """The settings as TOML, whole."""
    import tomli_w

    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))
