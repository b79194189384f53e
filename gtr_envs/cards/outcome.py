"""What an action brings."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """What an action brought. `success` is asked for at the end of an episode only."""

    reward: float
    terminated: bool = False
    truncated: bool = False
    success: bool = False
