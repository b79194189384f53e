"""The names that a game's texts use, such as "mug 1", worked out as alfworld's `Demangler` does.

alfworld numbers the things of a type backwards, in the order of their mangled ids in lower case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

SIGNS = (("|", "_bar_"), ("-", "_minus_"), ("+", "_plus_"), (".", "_dot_"), (",", "_comma_"))
_BAR = "_bar_"


def mangled(object_id: str) -> str:
    """An id with its signs as words, since the planner's language has no such signs in names."""
    for sign, word in SIGNS:
        object_id = object_id.replace(sign, word)
    return object_id


def names_of(ids: Iterable[str]) -> dict[str, str]:
    """The name of each thing, receptacle and place of a game.

    Args:
        ids: their mangled ids in lower case, all of them.

    Returns:
        The name of each, by id. What has no number, such as the agent, ends in a space, as it does with alfworld.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    names = {}
    for one in sorted(ids):
        kind, bar, _ = one.partition(_BAR)
        if bar:
            groups[f"{kind}basin" if "basin" in one else kind].append(one)
        else:
            names[one] = f"{_plain(one)} "
    for kind, group in groups.items():
        names.update((one, f"{_plain(kind)} {len(group) - index}") for index, one in enumerate(group))
    return names


def _plain(text: str) -> str:
    for sign, word in SIGNS:
        text = text.replace(word, sign)
    return text
