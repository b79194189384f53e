"""What endpoints were asked and paid: over one attempt at an evaluation, and over all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leaderboard.records import TIMING

COST = "cost"
"""The entry of a policy's ``usage`` that holds USD."""


def usage_of(policy: Any) -> dict[str, float]:
    """The numbers in a policy's ``usage`` so far in this process; empty for agents that use nothing."""
    usage = getattr(policy, "usage", None) or {}
    return {
        name: value for name, value in usage.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def spent_since(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """What came on top between two readings of a policy's usage."""
    spent = {name: value - before.get(name, 0) for name, value in now.items()}
    return {name: round(value, 9) if isinstance(value, float) else value for name, value in spent.items()}


def total_usage(folder: Path) -> dict[str, float]:
    """What all attempts at an evaluation used, by the names of a policy's usage; damaged lines are left out."""
    found: dict[str, float] = {}
    try:
        lines = (folder / TIMING).read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            usage = json.loads(line).get("usage") or {}
            for name, value in usage.items():
                found[name] = found.get(name, 0) + value
        except (ValueError, AttributeError, TypeError):
            continue
    return found


def spent_before(folder: Path) -> float:
    """USD that earlier attempts at an evaluation cost."""
    return float(total_usage(folder).get(COST, 0.0))
