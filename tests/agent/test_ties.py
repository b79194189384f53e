"""TIES by hand-worked numbers, against PEFT, and by its invariants."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils

from gtr_agent import ties
from gtr_agent.ties import border, disjoint_mean, ema_weights, lora_delta, ties_merge, trim
from gtr_envs.errors import SettingError


def random_deltas(count: int, shape: tuple[int, ...] = (6, 7), seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for _ in range(count)]


def test_trim_keeps_the_largest_by_magnitude() -> None:
    delta = torch.tensor([[0.1, -0.5, 0.3], [0.0, 0.2, -0.4]])
    assert torch.equal(trim(delta, 0.5), torch.tensor([[0.0, -0.5, 0.3], [0.0, 0.0, -0.4]]))
    assert torch.equal(trim(delta, 0.67), torch.tensor([[0.0, -0.5, 0.3], [0.0, 0.2, -0.4]]))  # int(4.02) = 4
    assert torch.equal(trim(delta, 0.0), torch.zeros(2, 3))
    assert torch.equal(trim(delta, 1.0), delta)


@pytest.mark.parametrize("density", [0.1, 0.2, 0.5, 0.55, 0.8, 0.99])
def test_trim_keeps_exactly_k_and_agrees_with_peft(density: float) -> None:
    delta = random_deltas(1, (13, 17))[0]
    trimmed = trim(delta, density)
    assert int((trimmed != 0).sum()) == int(density * delta.numel())
    assert torch.equal(trimmed, merge_utils.magnitude_based_pruning(delta, density))


@pytest.mark.parametrize("density", [0.25, 0.75])
def test_trim_keeps_exactly_k_among_equal_magnitudes(density: float) -> None:
    delta = torch.tensor([1.0, -1.0] * 10)
    trimmed = trim(delta, density)
    assert int((trimmed != 0).sum()) == int(density * 20)
    assert torch.equal(trimmed[trimmed != 0], delta[trimmed != 0])


def test_trim_leaves_its_input_alone() -> None:
    delta = random_deltas(1)[0]
    before = delta.clone()
    trim(delta, 0.3)
    trim(delta, 0.7)
    assert torch.equal(delta, before)


@pytest.mark.parametrize("density", [-0.1, 1.01, float("nan")])
def test_a_density_outside_0_to_1_is_an_error(density: float) -> None:
    with pytest.raises(SettingError, match="from 0 to 1"):
        trim(torch.zeros(3), density)
    with pytest.raises(SettingError, match="from 0 to 1"):
        border(torch.zeros(3), density)


def test_merge_by_hand_with_equal_weights() -> None:
    # Entry 0: +4 -1 +2 -> sum +5, elected +, mean(4, 2) = 3.      Entry 1: -3 -1 +1 -> elected -, mean = -2.
    # Entry 2: +1 -1 0  -> sum 0, elected + by convention, 1.      Entry 3: 0 0 0   -> nothing, 0.
    deltas = [torch.tensor([4.0, -3, 1, 0]), torch.tensor([-1.0, -1, -1, 0]), torch.tensor([2.0, 1, 0, 0])]
    expected = torch.tensor([3.0, -2.0, 1.0, 0.0])
    assert torch.equal(ties_merge(deltas, [1, 1, 1], 1.0), expected)


def test_merge_by_hand_with_weights() -> None:
    # Entry 0: 1*4 and 3*(-1): sum +1, elected +, 4/1 = 4.         Entry 1: 1*2 and 3*(-1): sum -1, elected -, -1.
    # Entry 2: 1*6 and 3*2: mean 12/4 = 3.
    deltas = [torch.tensor([4.0, 2, 6]), torch.tensor([-1.0, -1, 2])]
    expected = torch.tensor([4.0, -1.0, 3.0])
    assert torch.equal(ties_merge(deltas, [1, 3], 1.0), expected)


def test_merge_by_hand_with_trimming() -> None:
    # Half of four entries stay: [5, 0, 0, -4] and [0, 3, 0, -2]. Trimmed entries do not weigh down the mean.
    deltas = [torch.tensor([5.0, 1, 2, -4]), torch.tensor([1.0, 3, 0, -2])]
    assert torch.equal(ties_merge(deltas, [1, 1], 0.5), torch.tensor([5.0, 3.0, 0.0, -3.0]))


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("density", [0.2, 0.8, 1.0])
def test_agrees_with_peft_when_all_weights_are_1(count: int, density: float) -> None:
    deltas = random_deltas(count, (32, 24), seed=count)
    expected = merge_utils.ties([delta.clone() for delta in deltas], torch.ones(count), density)
    torch.testing.assert_close(ties_merge(deltas, [1.0] * count, density), expected)


def test_four_equal_checkpoints_merge_to_themselves_where_peft_gives_a_quarter() -> None:
    delta = random_deltas(1)[0]
    torch.testing.assert_close(ties_merge([delta] * 4, [0.25] * 4, 0.8), trim(delta, 0.8))
    quarter = merge_utils.ties([delta] * 4, torch.full((4,), 0.25), 0.8)
    torch.testing.assert_close(quarter, 0.25 * trim(delta, 0.8))


def grid(values: list[list[int]]) -> list[torch.Tensor]:
    """Multiples of 1/64, whose sums float32 holds exactly: many equal magnitudes and exact cancellations."""
    return [torch.tensor(row) / 64 for row in values]


grids = st.integers(1, 12).flatmap(
    lambda size: st.lists(st.lists(st.integers(-64, 64), min_size=size, max_size=size), min_size=1, max_size=8)
)
densities = st.one_of(st.sampled_from([0.2, 0.8, 1.0]), st.floats(0.01, 1.0))


@pytest.mark.parametrize("density", [0.1, 0.5, 0.8, 0.999])
def test_trimming_by_counting_is_trimming_by_selecting(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rough = (torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 8).round() / 8  # many equal magnitudes
    for delta in (rough, *random_deltas(1, (71, 70)), rough.bfloat16(), torch.zeros(100), rough * 1e-42):
        monkeypatch.setattr(ties, "COUNTED_FROM", 10**9)
        selected = trim(delta, density)
        monkeypatch.setattr(ties, "COUNTED_FROM", 0)
        counted = trim(delta, density)
        assert torch.equal(counted, selected)
        assert counted.dtype == delta.dtype
        assert torch.equal(trim(delta.double(), density), selected.double())


@given(grids, densities)
def test_a_border_trims_as_trimming_does_but_for_entries_that_are_equal(
    values: list[list[int]], density: float
) -> None:
    for delta in grid(values):
        trimmed, cut = trim(delta, density), border(delta, density)
        kept = torch.where(delta.abs() >= cut, delta, 0.0)
        assert torch.equal(kept[trimmed != 0], trimmed[trimmed != 0])
        extra = kept[(trimmed == 0) & (kept != 0)].abs()
        assert extra.numel() == 0 or torch.equal(
            extra, torch.full_like(extra, float(trimmed[trimmed != 0].abs().min()))
        )


def test_a_border_lies_between_what_is_kept_and_what_is_dropped() -> None:
    delta = torch.tensor([1.0, -2.0, 4.0, -8.0])
    assert [border(delta, density) for density in (0.0, 0.25, 0.5, 0.75, 1.0)] == [math.inf, 6.0, 3.0, 1.5, 0.0]
    assert border(torch.ones(4), 0.5) == 1.0


def test_a_border_between_neighbours_keeps_the_upper_one() -> None:
    for lower in (0.0020533395, 1.0, 1.0 + 2**-23):
        pair = torch.tensor([lower, lower])
        pair[1] = torch.nextafter(pair[1], torch.tensor(2.0))
        assert (pair >= border(pair, 0.5)).tolist() == [False, True]


def test_a_disjoint_mean_is_the_merge_of_what_was_trimmed() -> None:
    deltas, weights = random_deltas(5), [1.0, 0.5, 2.0, 0.25, 3.0]
    stacked = torch.stack([trim(delta, 0.6) for delta in deltas])
    assert torch.equal(disjoint_mean(stacked, torch.tensor(weights)), ties_merge(deltas, weights, 0.6))


def test_at_the_border_the_first_of_equal_magnitudes_are_kept() -> None:
    assert torch.equal(trim(torch.tensor([1.0, -2, 2, -2, 2]), 0.6), torch.tensor([0.0, -2, 2, -2, 0]))


@given(st.integers(0, 2**16), st.integers(1, 5), st.floats(0.01, 100.0), st.sampled_from([0.3, 0.8, 1.0]))
def test_the_scale_of_the_weights_does_not_matter(seed: int, count: int, scale: float, density: float) -> None:
    deltas = random_deltas(count, (5, 5), seed=seed)
    torch.testing.assert_close(ties_merge(deltas, [scale] * count, density), ties_merge(deltas, [1.0] * count, density))


@given(st.integers(0, 2**16), st.integers(1, 5))
def test_untrimmed_and_of_one_sign_it_is_the_plain_mean(seed: int, count: int) -> None:
    deltas = [delta.abs() + 0.1 for delta in random_deltas(count, seed=seed)]
    torch.testing.assert_close(ties_merge(deltas, [1.0] * count, 1.0), torch.stack(deltas).mean(dim=0))


@given(st.integers(0, 2**16), st.integers(1, 4), st.sampled_from([0.4, 0.8]))
def test_merging_negated_checkpoints_negates_the_merge(seed: int, count: int, density: float) -> None:
    deltas = random_deltas(count, seed=seed)
    merged = ties_merge(deltas, [1.0] * count, density)
    torch.testing.assert_close(ties_merge([-delta for delta in deltas], [1.0] * count, density), -merged)


def test_ema_weights_by_hand() -> None:
    assert ema_weights(1, 0.5) == [1.0]
    assert ema_weights(3, 0.5) == [0.25, 0.25, 0.5]
    assert ema_weights(3, 0.25) == [0.5625, 0.1875, 0.25]
    assert ema_weights(2, 1.0) == [0.0, 1.0]


def test_bad_settings_are_errors() -> None:
    with pytest.raises(SettingError, match="above 0 and at most 1"):
        ema_weights(3, 0.0)
    with pytest.raises(ValueError, match="at least one"):
        ties_merge([], [], 0.8)
    with pytest.raises(ValueError, match="2 task vectors have 1 weights"):
        ties_merge([torch.zeros(2), torch.zeros(2)], [1.0], 0.8)


def test_lora_delta_by_hand() -> None:
    factor_a = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)  # (rank 1, in 3)
    factor_b = torch.tensor([[10.0], [-1.0]], requires_grad=True)  # (out 2, rank 1)
    delta = lora_delta(factor_a, factor_b, scaling=2.0)
    assert torch.equal(delta, torch.tensor([[20.0, 40.0, 60.0], [-2.0, -4.0, -6.0]]))
    assert not delta.requires_grad
