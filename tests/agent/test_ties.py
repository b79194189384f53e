"""TIES by hand-worked numbers, against PEFT, and the running form against the batch form."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils
from safetensors.torch import load, save

from gtr_agent import sign_sums, ties
from gtr_agent.running_ties import RunningTies
from gtr_agent.ties import ema_weights, lora_delta, ties_merge, trim
from gtr_envs.errors import CheckpointError, SettingError


def random_deltas(count: int, shape: tuple[int, ...] = (6, 7), seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for _ in range(count)]


def running(deltas: list[torch.Tensor], weights: list[float], density: float) -> torch.Tensor:
    merge = RunningTies(density=density)
    for delta, weight in zip(deltas, weights, strict=True):
        merge.update({"layer": delta}, weight)
    return merge.merged()["layer"]


def assert_merged(result: torch.Tensor, deltas: list[torch.Tensor], weights: list[float], density: float) -> None:
    """That a merge is the batch merge in float64, but where the two masses cancel out within float32 rounding."""
    wide = [delta.double() for delta in deltas]
    trimmed = torch.stack([w * trim(delta, density) for delta, w in zip(wide, weights, strict=True)])
    clear = trimmed.sum(dim=0).abs() >= 1e-5 * trimmed.abs().sum(dim=0)
    expected = ties_merge(wide, weights, density)
    torch.testing.assert_close(result.double()[clear], expected[clear], atol=1e-6, rtol=1e-6)


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
        RunningTies(density=density)


def test_merge_by_hand_with_equal_weights() -> None:
    # Entry 0: +4 -1 +2 -> sum +5, elected +, mean(4, 2) = 3.      Entry 1: -3 -1 +1 -> elected -, mean = -2.
    # Entry 2: +1 -1 0  -> sum 0, elected + by convention, 1.      Entry 3: 0 0 0   -> nothing, 0.
    deltas = [torch.tensor([4.0, -3, 1, 0]), torch.tensor([-1.0, -1, -1, 0]), torch.tensor([2.0, 1, 0, 0])]
    expected = torch.tensor([3.0, -2.0, 1.0, 0.0])
    assert torch.equal(ties_merge(deltas, [1, 1, 1], 1.0), expected)
    assert torch.equal(running(deltas, [1, 1, 1], 1.0), expected)


def test_merge_by_hand_with_weights() -> None:
    # Entry 0: 1*4 and 3*(-1): sum +1, elected +, 4/1 = 4.         Entry 1: 1*2 and 3*(-1): sum -1, elected -, -1.
    # Entry 2: 1*6 and 3*2: mean 12/4 = 3.
    deltas = [torch.tensor([4.0, 2, 6]), torch.tensor([-1.0, -1, 2])]
    expected = torch.tensor([4.0, -1.0, 3.0])
    assert torch.equal(ties_merge(deltas, [1, 3], 1.0), expected)
    assert torch.equal(running(deltas, [1, 3], 1.0), expected)


def test_merge_by_hand_with_trimming() -> None:
    # Half of four entries stay: [5, 0, 0, -4] and [0, 3, 0, -2]. Trimmed entries do not weigh down the mean.
    deltas = [torch.tensor([5.0, 1, 2, -4]), torch.tensor([1.0, 3, 0, -2])]
    assert torch.equal(ties_merge(deltas, [1, 1], 0.5), torch.tensor([5.0, 3.0, 0.0, -3.0]))


@pytest.mark.parametrize("density", [0.2, 0.8, 1.0])
def test_running_equals_batch_in_any_order(density: float) -> None:
    deltas = random_deltas(4)
    weights = [0.3, 1.0, 2.5, 0.7]
    expected = ties_merge(deltas, weights, density)
    for order in itertools.permutations(range(4)):
        result = running([deltas[i] for i in order], [weights[i] for i in order], density)
        torch.testing.assert_close(result, expected)


@pytest.mark.filterwarnings("ignore:The density")
@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("density", [0.2, 0.8, 1.0])
def test_agrees_with_peft_when_all_weights_are_1(count: int, density: float) -> None:
    deltas = random_deltas(count, (32, 24), seed=count)
    expected = merge_utils.ties([delta.clone() for delta in deltas], torch.ones(count), density)
    torch.testing.assert_close(ties_merge(deltas, [1.0] * count, density), expected)
    merge = RunningTies(density=density)
    for delta in deltas:
        merge.update({"layer": delta})
    torch.testing.assert_close(merge.merged()["layer"], expected)


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


@given(grids, densities, st.randoms(use_true_random=False))
def test_sma_is_the_batch_merge_to_the_bit_in_any_order(values: list[list[int]], density: float, order: Any) -> None:
    deltas = grid(values)
    expected = ties_merge(deltas, [1.0] * len(deltas), density)
    shuffled = list(deltas)
    order.shuffle(shuffled)
    assert torch.equal(running(shuffled, [1.0] * len(deltas), density), expected)


@given(grids, densities)
def test_ema_at_one_half_is_the_batch_merge_to_the_bit(values: list[list[int]], density: float) -> None:
    deltas = grid(values)
    merge = RunningTies(density=density, alpha=0.5)
    for delta in deltas:
        merge.update({"layer": delta})
    assert torch.equal(merge.merged()["layer"], ties_merge(deltas, ema_weights(len(deltas), 0.5), density))


@given(
    st.integers(0, 2**32),
    st.lists(st.floats(0.01, 100.0), min_size=1, max_size=12),
    densities,
    st.randoms(use_true_random=False),
)
def test_any_weights_in_any_order_give_the_batch_merge(
    seed: int, weights: list[float], density: float, order: Any
) -> None:
    deltas = random_deltas(len(weights), seed=seed)
    places = list(range(len(weights)))
    order.shuffle(places)
    result = running([deltas[i] for i in places], [weights[i] for i in places], density)
    assert_merged(result, deltas, weights, density)


@given(st.integers(0, 2**32), st.integers(1, 12), densities, st.floats(0.05, 0.95))
def test_ema_gives_the_batch_merge_with_its_weights(seed: int, count: int, density: float, alpha: float) -> None:
    deltas = random_deltas(count, seed=seed)
    merge = RunningTies(density=density, alpha=alpha)
    for delta in deltas:
        merge.update({"layer": delta})
    assert_merged(merge.merged()["layer"], deltas, ema_weights(count, alpha), density)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.1])
@pytest.mark.parametrize("density", [0.05, 0.3, 0.8])
def test_ema_forgets_nothing_in_200_arrivals(alpha: float, density: float) -> None:
    # Half of the entries are small from the first quarter on: trimmed for 150 checkpoints, their last weight, 2^-150
    # beside the newest and less, is far below what float32 can hold.
    deltas = random_deltas(200, (40,))
    for delta in deltas[50:]:
        delta[20:] *= 1e-3
    merge = RunningTies(density=density, alpha=alpha)
    for delta in deltas:
        merge.update({"layer": delta})
    result = merge.merged()["layer"]
    assert result[20:].abs().sum() > 0
    assert_merged(result, deltas, ema_weights(200, alpha), density)


def test_an_entry_that_comes_back_counts_as_new_beside_a_faded_past() -> None:
    big, small = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.1])
    merge = RunningTies(density=0.5, alpha=0.5)
    merge.update({"layer": big.flip(0)})  # keeps entry 1
    for _ in range(160):
        merge.update({"layer": small})  # keeps entry 0
    assert merge.merged()["layer"][1] == 1.0, "its only value so far"
    merge.update({"layer": torch.tensor([0.0, 7.0])})
    assert merge.merged()["layer"][1] == 7.0, "what lies 161 checkpoints back weighs nothing beside it"


def test_counts_become_floats_where_16_bits_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_sums, "MOST_COUNTED", 3)
    deltas = random_deltas(6)
    merge = RunningTies()
    for delta in deltas:
        merge.update({"layer": delta})
    assert merge.state_dict()["positive_weight/layer"].dtype == torch.float32
    assert_merged(merge.merged()["layer"], deltas, [1.0] * 6, 0.8)


@pytest.mark.parametrize(
    ("method", "alpha", "expected"), [("ties", None, 12), ("ties", 0.5, 16), ("linear", None, 4), ("linear", 0.5, 4)]
)
def test_the_bytes_kept_do_not_grow(method: Any, alpha: float | None, expected: int) -> None:
    merge = RunningTies(method, alpha=alpha)
    for delta in random_deltas(5, (10, 10)):
        merge.update({"layer": delta})
        assert merge.nbytes == expected * 100
        assert sign_sums.bytes_per_entry(method, counted=alpha is None) == expected


def test_layer_by_layer_is_the_same_and_tells_before_and_after() -> None:
    whole, streamed = RunningTies(alpha=0.5), RunningTies(alpha=0.5, device="cpu")
    before = {"a": torch.zeros(6, 7), "b": torch.zeros(6, 7)}
    for seed in range(4):
        deltas = dict(zip("ab", random_deltas(2, seed=seed), strict=True))
        whole.update(deltas)
        for name, delta in deltas.items():
            without, with_it = streamed.add_layer(name, delta)
            assert torch.equal(without, before[name])
            assert torch.equal(with_it, whole.merged()[name])
            before[name] = with_it
        streamed.finish()
    assert streamed.count == 4


@pytest.mark.parametrize("method", ["ties", "linear"])
@pytest.mark.parametrize("alpha", [None, 0.5])
def test_a_layer_in_blocks_is_the_same(method: Any, alpha: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for size in (10**9, 10):
        monkeypatch.setattr(sign_sums, "BLOCK", size)
        merge = RunningTies(method, alpha=alpha)
        for delta in random_deltas(4, (7, 9)):
            merge.update({"layer": delta})
        found.append(merge.merged()["layer"])
    assert torch.equal(*found)


def test_half_a_checkpoint_is_an_error() -> None:
    merge = RunningTies()
    merge.update({"a": torch.ones(2), "b": torch.ones(2)})
    merge.add_layer("a", torch.ones(2))
    with pytest.raises(ValueError, match="these differ: b"):
        merge.finish()
    with pytest.raises(ValueError, match="already"):
        merge.add_layer("a", torch.ones(2))
    with pytest.raises(ValueError, match="no checkpoint before"):
        merge.add_layer("c", torch.ones(2))


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


@pytest.mark.parametrize("alpha", [0.5, 0.2, 1.0])
def test_ema_update_equals_batch_with_ema_weights(alpha: float) -> None:
    deltas = random_deltas(6)
    merge = RunningTies(density=0.8, alpha=alpha)
    for count, delta in enumerate(deltas, start=1):
        merge.update({"layer": delta})
        weights = ema_weights(count, alpha)
        kept = [(d, w) for d, w in zip(deltas[:count], weights, strict=True) if w > 0]
        expected = ties_merge([d for d, _ in kept], [w for _, w in kept], 0.8)
        torch.testing.assert_close(merge.merged()["layer"], expected)
        assert merge.total_weight == pytest.approx(1.0)


def test_ema_weights_by_hand() -> None:
    assert ema_weights(1, 0.5) == [1.0]
    assert ema_weights(3, 0.5) == [0.25, 0.25, 0.5]
    assert ema_weights(3, 0.25) == [0.5625, 0.1875, 0.25]
    assert ema_weights(2, 1.0) == [0.0, 1.0]


def test_ema_fades_the_past_out_and_sma_does_not() -> None:
    old, new = torch.tensor([4.0]), torch.tensor([1.0])
    ema, sma = RunningTies(density=1.0, alpha=0.5), RunningTies(density=1.0)
    for merge in (ema, sma):
        merge.update({"layer": old})
        for _ in range(3):
            merge.update({"layer": new})
    assert ema.merged()["layer"].item() == pytest.approx(4 / 8 + 7 / 8)  # weights 1/8, 1/8, 1/4, 1/2
    assert sma.merged()["layer"].item() == pytest.approx(7 / 4)


def test_linear_is_the_weighted_mean_of_untrimmed_deltas() -> None:
    deltas = random_deltas(3)
    merge = RunningTies("linear", density=0.1, alpha=0.5)
    for delta in deltas:
        merge.update({"layer": delta})
    torch.testing.assert_close(merge.merged()["layer"], 0.25 * deltas[0] + 0.25 * deltas[1] + 0.5 * deltas[2])


def test_state_survives_safetensors_and_goes_on_the_same() -> None:
    deltas = [{"a.weight": random_deltas(1, seed=i)[0], "b": random_deltas(1, (3,), seed=i)[0]} for i in range(4)]
    merge = RunningTies(alpha=0.3)
    for delta in deltas[:2]:
        merge.update(delta)
    resumed = RunningTies(alpha=0.3)
    resumed.load_state_dict(load(save(merge.state_dict())))
    assert resumed.count == 2
    for delta in deltas[2:]:
        merge.update(delta)
        resumed.update(delta)
    for name, values in merge.merged().items():
        assert torch.equal(values, resumed.merged()[name])


def test_a_damaged_state_is_an_error_and_changes_nothing() -> None:
    merge = RunningTies()
    merge.update({"layer": torch.tensor([1.0, 2.0])})
    state = merge.state_dict()
    before = merge.merged()["layer"]
    with pytest.raises(CheckpointError, match="lacks negative_sum/layer"):
        merge.load_state_dict({key: value for key, value in state.items() if key != "negative_sum/layer"})
    with pytest.raises(CheckpointError, match="lacks total_weight"):
        merge.load_state_dict({key: value for key, value in state.items() if key != "total_weight"})
    with pytest.raises(CheckpointError, match="Unknown entry 'surprise/layer'"):
        merge.load_state_dict({**state, "surprise/layer": torch.zeros(2)})
    assert torch.equal(merge.merged()["layer"], before)


def test_checkpoints_that_do_not_fit_are_errors_and_change_nothing() -> None:
    merge = RunningTies(alpha=0.5)
    merge.update({"layer": torch.tensor([1.0, 2.0])})
    before = merge.merged()["layer"]
    with pytest.raises(ValueError, match="these differ: layer, other"):
        merge.update({"other": torch.tensor([1.0, 2.0])})
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        merge.update({"layer": torch.zeros(3)})
    with pytest.raises(ValueError, match="not finite"):
        merge.update({"layer": torch.tensor([1.0, float("nan")])})
    with pytest.raises(ValueError, match="positive and finite"):
        merge.update({"layer": torch.zeros(2)}, 0.0)
    assert merge.count == 1
    assert merge.total_weight == 1.0
    assert torch.equal(merge.merged()["layer"], before)


def test_bad_settings_are_errors() -> None:
    with pytest.raises(SettingError, match="'ties' or 'linear'"):
        RunningTies("slerp")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="above 0 and at most 1"):
        RunningTies(alpha=0.0)
    with pytest.raises(ValueError, match="at least one"):
        ties_merge([], [], 0.8)
    with pytest.raises(ValueError, match="shorter"):
        ties_merge([torch.zeros(2), torch.zeros(2)], [1.0], 0.8)


def test_the_merge_holds_no_reference_to_its_input() -> None:
    delta = torch.tensor([1.0, -2.0])
    merge = RunningTies(density=1.0)
    merge.update({"layer": delta})
    delta.fill_(100.0)
    assert torch.equal(merge.merged()["layer"], torch.tensor([1.0, -2.0]))


def test_lora_delta_by_hand() -> None:
    factor_a = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)  # (rank 1, in 3)
    factor_b = torch.tensor([[10.0], [-1.0]], requires_grad=True)  # (out 2, rank 1)
    delta = lora_delta(factor_a, factor_b, scaling=2.0)
    assert torch.equal(delta, torch.tensor([[20.0, 40.0, 60.0], [-2.0, -4.0, -6.0]]))
    assert not delta.requires_grad


def test_a_loaded_state_is_taken_over_and_not_copied() -> None:
    merge, resumed = RunningTies(), RunningTies()
    merge.update({"layer": torch.tensor([1.0, 2.0])})
    state = load(save(merge.state_dict()))
    resumed.load_state_dict(state)
    own = {values.data_ptr() for values in resumed.state_dict().values()}
    assert {values.data_ptr() for key, values in state.items() if "/" in key} <= own
