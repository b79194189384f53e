"""What an update's answers look like: how varied the thoughts are, how long, how many could be read.

Thought collapse shows here first: the same thought in state after state, whatever the picture holds. Reward and entropy
may look well meanwhile. All numbers are plain counts over texts; nothing is drawn at random, and the order of the turns
changes nothing.

Sources: distinct-n from Li et al. 2016 (https://arxiv.org/abs/1510.03055); Self-BLEU from Texygen, Zhu et al. 2018
(https://arxiv.org/abs/1802.01886), on BLEU (Papineni et al. 2002, https://aclanthology.org/P02-1040) with the first
smoothing of Chen and Cherry 2014 (https://aclanthology.org/W14-3346), which Texygen's code takes too; thought collapse
from GTR (https://arxiv.org/abs/2503.08525).

Departures:

* distinct-n divides by the number of n-grams rather than of words, so that 1 can be reached for every n.
* Self-BLEU is taken over at most 64 thoughts, one a state: enough to see collapse, and cheap.
* A thought with fewer than four words is judged by the orders of n-grams that it has.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain

from gtr_envs.episode import Turn
from gtr_envs.protocol import AnswerStatus

SELF_BLEU_THOUGHTS = 64
"""How many thoughts Self-BLEU compares with each other."""

BLEU_ORDER = 4
SMOOTHING = 0.1
"""Counted instead of 0 where no n-gram of an order is found again."""

Words = list[str]
Gram = str | tuple[str, ...]


def diagnose(
    turns: Sequence[Turn],
    states: Sequence[Hashable],
    *,
    episodes: Sequence[Hashable] | None = None,
    max_new_tokens: int | None = None,
) -> dict[str, float]:
    """What an update's turns say of the agent's answers.

    Args:
        turns: the update's turns, in any order.
        states: for each turn what identifies the state it answered, picture included; turns with equal values answered
            the same state. The episode and the prompt will do where the prompt tells what has happened so far.
        episodes: for each turn what identifies its episode, for the actions that are played again; None leaves those
            out. See :func:`episode_keys`.
        max_new_tokens: the length at which an answer is cut off, in tokens; None leaves out how many reached it.

    Returns:
        the metrics by the names that ``docs/metrics.md`` explains. All are shares or ratios, 0 to 1, but for
        ``answer_tokens``, ``thought_tokens`` (tokens) and ``turns_per_state`` (1 or more). ``self_bleu`` and
        ``top_thought`` are left out where only one state was answered: they compare states.

    Raises:
        ValueError: there are no turns, or not as many states or episodes as turns.
    """
    _check_lengths(turns, states, episodes)
    by_state: dict[Hashable, list[Words]] = defaultdict(list)
    for turn, state in zip(turns, states, strict=True):
        by_state[state].append(thought_of(turn).split())

    metrics = {
        "invalid": _share(turn.status is AnswerStatus.INVALID for turn in turns),
        "repaired": _share(turn.status is AnswerStatus.REPAIRED for turn in turns),
        "illegal": _share(turn.illegal for turn in turns),
        "answer_tokens": sum(turn.tokens for turn in turns) / len(turns),
        "thought_tokens": sum(turn.thought_tokens for turn in turns) / len(turns),
        "turns_per_state": len(turns) / len(by_state),
    }
    for order in (1, 2):
        across, within = distinct(by_state.values(), order)
        metrics |= {f"distinct_{order}": across, f"distinct_{order}_within": within}
    if len(by_state) > 1:
        metrics["self_bleu"] = self_bleu(spread(one_each(by_state.values()), SELF_BLEU_THOUGHTS))
        metrics["top_thought"] = top_share(by_state.values())
    if max_new_tokens is not None:
        metrics["cut_off"] = _share(turn.tokens >= max_new_tokens for turn in turns)
    if episodes is not None:
        metrics["action_repeats"] = action_repeats(turns, episodes)
    return metrics


def episode_keys(ended: Sequence[Sequence[bool]]) -> list[tuple[int, int]]:
    """What identifies the episode of each turn of a rollout.

    Args:
        ended: [time][environment], whether the episode ended with that turn, terminated or truncated.

    Returns:
        (environment, how many episodes it ended before) for each turn, time by time as ``Rollout.flat`` has them.
    """
    before: Counter[int] = Counter()
    keys = []
    for row in ended:
        keys += [(place, before[place]) for place in range(len(row))]
        before.update(place for place, end in enumerate(row) if end)
    return keys


def thought_of(turn: Turn) -> str:
    """A turn's thought: what was read as such. Of an answer that could not be read, failing that, the whole text.

    Training, too, takes all of an unreadable answer for thought, and the same one everywhere is collapse as well.
    """
    if turn.status is AnswerStatus.INVALID:
        return turn.thoughts or turn.text
    return turn.thoughts


def distinct(by_state: Iterable[Sequence[Words]], order: int) -> tuple[float, float]:
    """Distinct-n, different n-grams over all n-grams: across all thoughts, and within a state.

    It falls with the amount of text, so compare it between updates of one size only.

    Args:
        by_state: for each state the words of each of its thoughts.
        order: n, at least 1.

    Returns:
        that of all thoughts together, and the mean over states of that of the state's own thoughts. 1 if no n-gram
        comes twice, near 0 if few are used over and over; 0 where there are none. Within a state that was answered
        once it sees only what the thought says twice.

    Source: Li et al. 2016 (1510.03055), section 5; there over the number of words.
    """
    everywhere: set[Gram] = set()
    total = 0
    within = []
    for thoughts in by_state:
        here = set(chain.from_iterable(n_grams(words, order) for words in thoughts))
        count = sum(max(0, len(words) - order + 1) for words in thoughts)
        everywhere |= here
        total += count
        if count:
            within.append(len(here) / count)
    if not total:
        return 0.0, 0.0
    return len(everywhere) / total, math.fsum(within) / len(within)  # fsum: exact, hence the same in any order


def top_share(by_state: Iterable[Sequence[Words]]) -> float:
    """The share of states in which the thought was given that was given in most: 1 is the same thought everywhere."""
    given = [{" ".join(words) for words in thoughts} for thoughts in by_state]
    return max(Counter(thought for thoughts in given for thought in thoughts).values()) / len(given)


def one_each(by_state: Iterable[Sequence[Words]]) -> list[Words]:
    """One thought a state, sorted: in alphabetical order the middle one of its own."""
    return sorted(sorted(thoughts)[len(thoughts) // 2] for thoughts in by_state)


def spread(thoughts: Sequence[Words], most: int) -> list[Words]:
    """At most so many of the sorted thoughts, evenly spread: equal ones stay in the proportion that they have."""
    size = min(most, len(thoughts))
    return [thoughts[place * len(thoughts) // size] for place in range(size)]


def self_bleu(thoughts: Sequence[Words]) -> float:
    """Self-BLEU: the mean BLEU-4 of each thought against all others as its references.

    Args:
        thoughts: the words of each, at least two.

    Returns:
        1 if each thought is the same as another one, near 0 if they share nothing. An empty thought counts 1 beside
        another empty one and else 0.

    Source: Zhu et al. 2018 (1802.01886), section 2.3.
    """
    counts = [[Counter(n_grams(words, order)) for order in range(1, BLEU_ORDER + 1)] for words in thoughts]
    tops = [_two_highest([of_thought[place] for of_thought in counts]) for place in range(BLEU_ORDER)]
    lengths = [len(words) for words in thoughts]
    scores = []
    for index, (words, of_thought) in enumerate(zip(thoughts, counts, strict=True)):
        others = lengths[:index] + lengths[index + 1 :]
        if words:
            scores.append(_brevity(len(words), others) * _precision(of_thought, tops))
        else:
            scores.append(float(0 in others))
    return math.fsum(scores) / len(scores)


def action_repeats(turns: Sequence[Turn], episodes: Sequence[Hashable]) -> float:
    """The share of actions that repeat the one just before in the same episode.

    Args:
        turns: in any order; their indices tell which comes before which.
        episodes: for each turn what identifies its episode.

    Returns:
        0 to 1, of the pairs of neighbouring turns in which both actions could be read; 0 where there is no such pair.
    """
    keys = [(episode, turn.index) for episode, turn in zip(episodes, turns, strict=True)]
    played = {key: turn.action for key, turn in zip(keys, turns, strict=True) if turn.action is not None}
    pairs = [(action, played.get((episode, index - 1))) for (episode, index), action in played.items()]
    return _share(action == before for action, before in pairs if before is not None)


def n_grams(words: Words, order: int) -> Iterable[Gram]:
    """The runs of ``order`` neighbouring words; of order 1 the words themselves."""
    if order == 1:
        return words
    return zip(*(words[start:] for start in range(order)), strict=False)  # the shortest ends it: the last whole run


def _share(flags: Iterable[bool]) -> float:
    found = list(flags)
    return sum(found) / len(found) if found else 0.0


def _two_highest(counts: Sequence[Counter[Gram]]) -> dict[Gram, tuple[int, int]]:
    """For each n-gram its highest count in one thought and the highest in any other."""
    highest: dict[Gram, tuple[int, int]] = {}
    for of_thought in counts:
        for gram, count in of_thought.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (count, first) if count > first else (first, max(second, count))
    return highest


def _precision(counts: Sequence[Counter[Gram]], tops: Sequence[dict[Gram, tuple[int, int]]]) -> float:
    """BLEU's geometric mean of the clipped n-gram precisions of one thought against all others."""
    logs = []
    for order, (of_thought, top) in enumerate(zip(counts, tops, strict=True), start=1):
        total = of_thought.total()
        if not total:  # fewer words than the order
            break
        # Clipped at the highest count in another thought; where this thought's own is the highest, that is the second.
        found = sum(top[gram][1] if count == top[gram][0] else count for gram, count in of_thought.items())
        if not found and order == 1:
            return 0.0
        logs.append(math.log((found or SMOOTHING) / total))
    return math.exp(math.fsum(logs) / len(logs))


def _brevity(length: int, others: Sequence[int]) -> float:
    """BLEU's penalty for a thought that is shorter than the reference whose length is nearest (of two, the shorter)."""
    nearest = min(others, key=lambda other: (abs(other - length), other))
    return min(1.0, math.exp(1 - nearest / length))


def _check_lengths(turns: Sequence[Turn], states: Sequence[Hashable], episodes: Sequence[Hashable] | None) -> None:
    if not turns:
        raise ValueError("diagnose got no turns; it needs those of a whole update, one at least")
    for name, values in (("states", states), ("episodes", episodes)):
        if values is not None and len(values) != len(turns):
            raise ValueError(f"diagnose got {len(values)} {name} for {len(turns)} turns; give one a turn")
