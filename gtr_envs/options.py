"""Checks of the options that environments are made and reset with; an error says what was given and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gtr_envs.errors import SettingError

IMAGE_SIZES = (64, 1024)
"""The smallest and the largest picture, in pixels."""


def checked_options(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The reset options, none for None.

    Raises:
        SettingError: if they are no dictionary.
    """
    if options is not None and not isinstance(options, Mapping):
        raise SettingError(f"reset options {options!r}: expected a dictionary, or None")
    return options or {}


def check_options(options: Mapping[str, Any], known: Sequence[str], example: str) -> None:
    """Refuse reset options that an environment does not have.

    Raises:
        SettingError: names the unknown option and those that exist.
    """
    unknown = [repr(key) for key in options if key not in known]
    if unknown:
        names = ", ".join(map(repr, known))
        only = f"the only one is {names}" if len(known) == 1 else f"there are {names}"
        raise SettingError(f"unknown reset option {', '.join(unknown)}: {only}, as in {example}")


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Refuse a value that is not among the allowed ones.

    Raises:
        SettingError: names both.
    """
    # The type as well: 1 == True, and an array's == is no truth value.
    if not any(isinstance(value, type(choice)) and value == choice for choice in allowed):
        raise SettingError(f"{name}={value!r}: expected one of {', '.join(map(repr, allowed))}")


def check_whole(name: str, value: Any, low: int, high: int, unit: str = "") -> int:
    """The value as an int, if it is a whole number in the range.

    Raises:
        SettingError: if it is not.
    """
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise SettingError(f"{name}={value!r}: expected a whole number{unit and ' of' + unit} from {low} to {high}")
    return int(value)
