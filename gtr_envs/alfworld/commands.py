"""How commands are given, as texts or by index, and which admissible command is meant."""

from __future__ import annotations

import operator
import re
import string
from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym

from gtr_envs.errors import ActionError

Actions = Literal["text", "index"]

MOST_COMMANDS = 256  # of an index; a kitchen with everything at hand has fewer
LONGEST_COMMAND = 200
_PUT = re.compile(r"put (.+?) (?:in/on|into|onto|in|on|to) (.+)")
_MOVE = re.compile(r"move (.+?) to (.+)")
_FORMS = ("move {} to {}", "put {} in/on {}", "put {} in {}", "put {} on {}")


def action_space(actions: Actions) -> gym.Space[Any]:
    """The space of commands."""
    if actions == "index":
        return gym.spaces.Discrete(MOST_COMMANDS)
    return gym.spaces.Text(LONGEST_COMMAND, charset=string.ascii_letters + string.digits + " /'-")


def command_of(action: Any, actions: Actions, admissible: Sequence[str]) -> str:
    """The command that an action stands for, whether or not it is admissible.

    Args:
        action: a text, or with `actions="index"` a place among the admissible commands.
        actions: how commands are given.
        admissible: the admissible commands.

    Raises:
        ActionError: if it is no text, or no such index.
    """
    if actions == "text":
        if not isinstance(action, str):
            raise ActionError(f"action {action!r}: expected a command, a text such as 'go to fridge 1'")
        return " ".join(action.split())
    try:
        index = operator.index(action)
    except TypeError:
        index = -1
    if not 0 <= index < MOST_COMMANDS:
        raise ActionError(f"action {action!r}: expected a whole number from 0 to {MOST_COMMANDS - 1}")
    return admissible[index] if index < len(admissible) else f"command {index} of {len(admissible)}"


def same_command(command: str, admissible: Sequence[str]) -> str | None:
    """The admissible command that says the same, in capitals or not, "put X in/on Y" being "move X to Y".

    Args:
        command: what was said.
        admissible: the admissible commands.

    Returns:
        One of them, or None.
    """
    if command in admissible:
        return command
    by_words = {each.casefold(): each for each in admissible}
    words = command.casefold()
    match = _PUT.fullmatch(words) or _MOVE.fullmatch(words)
    said = [words, *(form.format(*match.groups()) for form in _FORMS)] if match else [words]
    return next((by_words[form] for form in said if form in by_words), None)
