"""Micro-batches by a budget of tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_agent.batches import by_token_budget, deal_out

LENGTHS = st.lists(st.tuples(st.integers(1, 600), st.integers(1, 256)), max_size=80)


def width(lengths: list[tuple[int, int]], batch: list[int]) -> int:
    return max(lengths[index][0] for index in batch) + max(lengths[index][1] for index in batch)


@given(lengths=LENGTHS, budget=st.integers(1, 20_000))
def test_every_turn_once_and_no_more_than_the_budget_but_for_single_turns(
    lengths: list[tuple[int, int]], budget: int
) -> None:
    batches = by_token_budget(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) * width(lengths, batch) <= budget or len(batch) == 1 for batch in batches)
    assert batches == by_token_budget(list(lengths), budget)


@given(lengths=LENGTHS, budget=st.integers(2_000, 20_000))
def test_the_longest_come_first(lengths: list[tuple[int, int]], budget: int) -> None:
    sums = [sum(lengths[index]) for batch in by_token_budget(lengths, budget) for index in batch]
    assert sums == sorted(sums, reverse=True)


def test_like_goes_with_like_by_hand() -> None:
    lengths = [(10, 2), (30, 10), (10, 4), (28, 12), (9, 1)]
    # 1 and 3 are 30 + 12 wide together, 84 tokens; with 2 they would be 126. 2, 0 and 4 are 14 wide, 42 tokens.
    assert by_token_budget(lengths, 100) == [[1, 3], [2, 0, 4]]
    assert by_token_budget(lengths, 1) == [[1], [3], [2], [0], [4]]
    assert by_token_budget([], 5) == []
    with pytest.raises(ValueError, match="a budget of 0 tokens"):
        by_token_budget(lengths, 0)


def test_an_even_share_of_turns_of_like_length_by_hand() -> None:
    lengths = [(10, 2), (30, 10), (10, 4), (28, 12), (9, 1)]
    assert deal_out(lengths, 3, 0) == [[1, 3], [2, 0, 4]]
    assert deal_out(lengths, 100, 0) == [[1, 3, 2, 0, 4]]
    assert deal_out(lengths, 3, 100) == by_token_budget(lengths, 100)
    assert deal_out([], 3, 0) == []


@given(lengths=LENGTHS, size=st.integers(1, 40))
def test_every_turn_once_evenly_the_longest_first(lengths: list[tuple[int, int]], size: int) -> None:
    dealt = deal_out(lengths, size, 0)
    assert sorted(index for batch in dealt for index in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in dealt)
    assert not dealt or max(map(len, dealt)) - min(map(len, dealt)) <= 1
    sums = [sum(lengths[index]) for batch in dealt for index in batch]
    assert sums == sorted(sums, reverse=True)
