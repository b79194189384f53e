"""Every registered environment with every option that changes its spaces, its rules or its look; and comparison."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import gtr_envs  # noqa: F401 - registers them
from gtr_envs.cards.themes import THEME_NAMES

IDS = sorted(name for name in gym.registry if name.startswith("gtr/") and "ALFWorld" not in name)  # which has its own
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "gtr/Points24-v0": [
        {},
        {"face_cards": "rank"},
        {"face_cards": "rank", "rules": "gym_cards"},
        {"rules": "gym_cards"},
        {"illegal": "terminate"},
        {"hands": "all", "split": "test"},
        {"num_cards": 3, "target": 12},
        {"num_cards": 5},
    ],
    "gtr/EZPoints-v0": [{}, {"rules": "gym_cards"}, {"illegal": "terminate"}],
    "gtr/NumberLine-v0": [{}, {"max_position": 20}],
    "gtr/Blackjack-v0": [{}, {"natural": True}, {"sab": True}],
}
LOOKS: list[dict[str, Any]] = [*({"theme": theme} for theme in THEME_NAMES), {"image_size": 64}, {"image_size": 112}]
CASES = [(name, options) for name in IDS for options in (*OPTIONS[name], *LOOKS)]


def equal(first: Any, second: Any) -> bool:
    """Whether two values are the same, arrays and what holds them included."""
    if isinstance(first, np.ndarray):
        return isinstance(second, np.ndarray) and first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second) and type(first) is type(second)
