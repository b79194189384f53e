"""Diagnostics of an update's answers, by numbers worked by hand and by what holds for any answers."""

import math
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_agent.diagnostics import (
    action_repeats,
    diagnose,
    distinct,
    episode_keys,
    one_each,
    self_bleu,
    spread,
    thought_of,
    top_share,
)
from gtr_envs.episode import Turn, play
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import AnswerStatus
from gtr_envs.text_actions import make_text_env

NOT_SHARES = {"answer_tokens", "thought_tokens", "turns_per_state"}


def make_turn(thoughts: str = "", index: int = 0, action: str | None = "+", **changes: Any) -> Turn:
    turn = Turn(
        index=index,
        frame=None,
        prompt="?",
        text=f'{{"thoughts": "{thoughts}"}}',
        status=AnswerStatus.STRICT if action is not None else AnswerStatus.INVALID,
        thoughts=thoughts,
        action=action,
        reward=0.0,
        illegal=False,
        tokens=12,
        thought_tokens=8,
    )
    return replace(turn, **changes)


def words(*thoughts: str) -> list[list[str]]:
    return [thought.split() for thought in thoughts]


def test_distinct_1_and_2_across_and_within_states() -> None:
    states = [words("a b a", "a c"), words("a b", "")]
    # Words: 5 + 2 = 7, of which a, b, c differ. Within: {a, b, c} of 5, {a, b} of 2.
    assert distinct(states, 1) == (pytest.approx(3 / 7), pytest.approx((3 / 5 + 2 / 2) / 2))
    # Pairs: ab, ba, ac | ab: 4, of which 3 differ; none spans two thoughts. Within: 3 of 3, 1 of 1.
    assert distinct(states, 2) == (pytest.approx(3 / 4), 1.0)
    assert distinct(states, 3) == (1.0, 1.0), "one run of three words, in the first state; the second has none"
    assert distinct([words("", "")], 1) == (0.0, 0.0), "no words at all"


def test_self_bleu_of_two_thoughts() -> None:
    # 2 of 3 words and 1 of 2 pairs come again; the one run of three does not and counts 0.1. As long as the reference.
    assert self_bleu(words("the cat sat", "the cat ran")) == pytest.approx((2 / 3 * 1 / 2 * 0.1) ** (1 / 3))


def test_self_bleu_clips_at_the_highest_count_in_one_other_thought() -> None:
    # "a a a": the most a's in another thought are 2, of 3; pairs: aa once of 2; runs of three: none of 1.
    first = (2 / 3 * 1 / 2 * 0.1) ** (1 / 3)
    # "a a": both words, the pair too; the nearest length is 3 (or 1: of two, the shorter, which costs nothing).
    second, third = 1.0, 1.0  # "a" against a reference of length 2: exp(1 - 2 / 1)
    assert self_bleu(words("a a a", "a a", "a")) == pytest.approx((first + second + third * math.exp(-1)) / 3)


def test_self_bleu_of_extremes() -> None:
    assert self_bleu(words("1 2 3 4 5", "1 2 3 4 5")) == 1.0
    assert self_bleu(words("1 2 3 4 5", "6 7 8 9")) == 0.0
    assert self_bleu(words("", "", "a")) == pytest.approx(2 / 3), "an empty thought is like another empty one"
    assert self_bleu(words("", "a")) == 0.0


def test_four_runs_count_and_longer_ones_do_not() -> None:
    # "1 2 3 4 5" beside "1 2 3 4 6": 4/5 words, 3/4 pairs, 2/3 and 1/2 of the longer runs: the product is 1/5.
    assert self_bleu(words("1 2 3 4 5", "1 2 3 4 6")) == pytest.approx(0.2**0.25)


def test_the_top_thought_is_counted_by_state() -> None:
    states = [words("a b", "a  b", "a b"), words("c"), words("c", "a b"), words("d")]
    assert top_share(states) == 2 / 4, "'a b' in the first and the third state, however often in the first"


def test_the_sample_is_evenly_spread() -> None:
    assert one_each([words("b"), words("c", "a", "b"), words("d", "e")]) == words("b", "b", "e")
    assert spread(words("a", "b", "c", "d", "e"), 2) == words("a", "c")
    assert spread(words("a", "b"), 64) == words("a", "b")
    half = [*words(*(f"x{i:03}" for i in range(100))), *words(*["y"] * 100)]
    assert spread(half, 64).count(["y"]) == 32, "equal thoughts keep their proportion"


def test_action_repeats_in_mixed_order() -> None:
    played = [("e", 1, "+"), ("f", 0, "+"), ("e", 0, "+"), ("e", 2, "7"), ("f", 1, None), ("f", 2, "7"), ("f", 3, "7")]
    turns = [make_turn(index=index, action=action) for _, index, action in played]
    # Pairs: e 0-1 repeats, e 1-2 does not, f 2-3 repeats; the unreadable answer is in no pair.
    assert action_repeats(turns, [episode for episode, _, _ in played]) == pytest.approx(2 / 3)
    assert action_repeats(turns[:2], ["e", "f"]) == 0.0, "no two neighbours"


def test_episode_keys_go_on_until_the_end() -> None:
    ended = [[False, True], [True, False], [False, True]]
    assert episode_keys(ended) == [(0, 0), (1, 0), (0, 0), (1, 1), (0, 1), (1, 1)]


def test_the_thought_of_an_unreadable_answer_is_what_there_is_of_it() -> None:
    assert thought_of(make_turn("a b")) == "a b"
    assert thought_of(make_turn("", text='{"action": "+"}')) == ""
    assert thought_of(make_turn("", action=None, text="blah")) == "blah"
    assert thought_of(make_turn("a b", action=None, text='{"thoughts": "a b", "act')) == "a b"


def test_all_metrics_of_an_update() -> None:
    turns = [
        make_turn("a b", tokens=10, thought_tokens=6),
        make_turn("a b", index=1, illegal=True, tokens=10, thought_tokens=6),
        make_turn("c d", action="7", status=AnswerStatus.REPAIRED, tokens=12, thought_tokens=8),
        make_turn("", index=1, action=None, text="c d", tokens=16, thought_tokens=16),
    ]
    found = diagnose(turns, ["s", "t", "u", "u"], episodes=["e", "e", "f", "f"], max_new_tokens=16)
    assert found == pytest.approx(
        {
            "invalid": 1 / 4,
            "repaired": 1 / 4,
            "illegal": 1 / 4,
            "answer_tokens": 12.0,
            "thought_tokens": 9.0,
            "turns_per_state": 4 / 3,
            "distinct_1": 4 / 8,
            "distinct_2": 2 / 4,
            "distinct_1_within": (1 + 1 + 2 / 4) / 3,
            "distinct_2_within": (1 + 1 + 1 / 2) / 3,
            "self_bleu": (1 + 1 + 0) / 3,
            "top_thought": 2 / 3,
            "cut_off": 1 / 4,
            "action_repeats": 1.0,
        }
    )


def test_what_cannot_be_told_is_left_out() -> None:
    found = diagnose([make_turn("a b")] * 3, ["s"] * 3)
    assert not set(found) & {"self_bleu", "top_thought", "cut_off", "action_repeats"}
    assert found["turns_per_state"] == 3.0


def test_collapse_shows() -> None:
    varied = [make_turn(f"take {i} and {i * 7 % 64} to make {i * 5 % 64} then {i * 3 % 64}") for i in range(64)]
    same = [make_turn("I should play the next card to reach the goal") for _ in range(64)]
    well, collapsed = (diagnose(turns, range(64)) for turns in (varied, same))
    assert (collapsed["top_thought"], collapsed["self_bleu"]) == (1.0, 1.0)
    assert collapsed["distinct_2"] == pytest.approx(9 / (9 * 64))
    assert (well["top_thought"], well["self_bleu"] < 0.5) == (1 / 64, True)
    assert well["distinct_2"] > 0.4


TURNS = st.builds(
    make_turn,
    thoughts=st.lists(st.sampled_from("abc"), max_size=6).map(" ".join),
    index=st.integers(0, 3),
    action=st.sampled_from(["+", "7", None]),
    illegal=st.booleans(),
    tokens=st.integers(0, 20),
)
PLAYED = st.lists(st.tuples(TURNS, st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=90)


@given(PLAYED, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_shares_are_shares_and_the_order_of_turns_changes_nothing(
    played: list[tuple[Turn, int, int]], chance: random.Random
) -> None:
    played = list({(episode, turn.index): (turn, state, episode) for turn, state, episode in played}.values())

    def look() -> dict[str, float]:
        turns, states, episodes = zip(*played, strict=True)
        return diagnose(turns, states, episodes=episodes, max_new_tokens=16)

    found = look()
    assert all(0 <= value <= 1 for name, value in found.items() if name not in NOT_SHARES)
    assert 1 <= found["turns_per_state"] <= len(played)
    chance.shuffle(played)
    assert look() == found


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8), min_size=2, max_size=70))
@settings(deadline=None)
def test_self_bleu_is_1_where_every_thought_comes_twice(thoughts: list[list[str]]) -> None:
    assert self_bleu([*thoughts, *thoughts]) == pytest.approx(1.0)
    assert 0.0 <= self_bleu(thoughts) <= 1.0


def test_a_mistake_is_named() -> None:
    with pytest.raises(ValueError, match="no turns"):
        diagnose([], [])
    with pytest.raises(ValueError, match="1 states for 2 turns"):
        diagnose([make_turn(), make_turn()], ["s"])
    with pytest.raises(ValueError, match="3 episodes for 1 turns"):
        diagnose([make_turn()], ["s"], episodes=[1, 2, 3])


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text("utf-8")


def test_the_page_explains_every_metric_found_here() -> None:
    found = diagnose([make_turn("a"), make_turn("b")], ["s", "t"], episodes=["e", "f"], max_new_tokens=16)
    explained = {
        name for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert set(found) <= explained


@pytest.mark.parametrize("name", ["Points24", "EZPoints", "NumberLine", "Blackjack"])
def test_the_figures_of_the_solvers_thoughts(name: str) -> None:
    episodes = play(SolverPolicy(), lambda: make_text_env(f"gtr/{name}-v0", "penalty"), range(30))
    turns, states = zip(*((turn, (e.seed, turn.index)) for e in episodes for turn in e.turns), strict=True)
    found = diagnose(turns, states)
    figures = f"{found['distinct_2']:.3f} | {found['self_bleu']:.2f} | {found['top_thought']:.3f}"
    assert f"| `gtr/{name}-v0` | {figures} |" in PAGE


def test_an_update_is_diagnosed_in_no_time() -> None:
    chance = random.Random(0)
    vocabulary = [f"w{i}" for i in range(500)]
    turns = [make_turn(" ".join(chance.choices(vocabulary, k=40)), index=i // 64) for i in range(1024)]
    places = [i % 64 for i in range(1024)]

    def seconds() -> float:
        start = time.process_time()
        diagnose(turns, range(1024), episodes=places, max_new_tokens=80)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 0.1, "30 ms where it was written; an update takes seconds"
