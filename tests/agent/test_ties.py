"""TIES by hand-worked numbers, against PEFT, and the running form against the batch form."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils
from safetensors.torch import load, save

from gtr_agent.ties import RunningTies, ema_weights, lora_delta, ties_merge, trim
from gtr_envs.errors import CheckpointError, SettingError


def random_deltas(count: int, shape: tuple[int, ...] = (6, 7), seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for _ in range(count)]


def running(deltas: list[torch.Tensor], weights: list[float], density: float) -> torch.Tensor:
    merge = RunningTies()
    for delta, weight in zip(deltas, weights, strict=True):
        merge.add({"layer": trim(delta, density)}, weight)
    return merge.merged()["layer"]


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
        merge.add({"layer": torch.zeros(2)}, 0.0)
    assert merge.count == 1
    assert merge.total_weight == 1.0
    assert torch.equal(merge.merged()["layer"], before)


def test_bad_settings_are_errors() -> None:
    with pytest.raises(SettingError, match="'ties' or 'linear'"):
        RunningTies("slerp")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="above 0 and at most 1"):
        RunningTies(alpha=0.0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        RunningTies().decay(1.5)
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
