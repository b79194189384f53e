"""Each loss and estimator by hand-worked numbers."""

import math

import pytest
import torch

from gtr_agent.losses import (
    KL_ESTIMATORS,
    SampledEstimator,
    clipped_surrogate,
    entropy,
    kl_per_token,
    masked_mean,
    token_log_probs,
    turn_log_prob,
    value_loss,
)

NAN = float("nan")


def test_masked_mean() -> None:
    values = torch.tensor([[1.0, 2.0, NAN], [4.0, NAN, NAN], [NAN, NAN, NAN]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert masked_mean(values, mask).item() == pytest.approx(7 / 3)
    assert torch.equal(masked_mean(values, mask, dim=-1), torch.tensor([1.5, 4.0, 0.0]))
    assert masked_mean(torch.tensor([1.0, 3.0])).item() == 2.0
    assert masked_mean(values, torch.zeros(3, 3)).item() == 0.0


def test_turn_log_prob() -> None:
    log_probs = torch.tensor([[-1.0, -2.0, -4.0, NAN], [-0.5, -0.25, -0.125, -8.0]])
    thought = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])
    action = torch.tensor([[0, 0, 1, 0], [0, 0, 1, 1]])
    result = turn_log_prob(log_probs, thought, action, thought_coef=0.5)
    torch.testing.assert_close(result, torch.tensor([0.5 * -3.0 - 4.0, -8.125]))


def test_turn_log_prob_sends_no_gradient_to_padding() -> None:
    log_probs = torch.full((1, 3), -1.0, requires_grad=True)
    turn_log_prob(log_probs, torch.tensor([[1, 0, 0]]), torch.tensor([[0, 1, 0]]), 0.25).sum().backward()
    assert torch.equal(log_probs.grad, torch.tensor([[0.25, 1.0, 0.0]]))


def test_on_policy_the_surrogate_is_minus_the_mean_advantage() -> None:
    log_ratio = torch.zeros(3, requires_grad=True)
    advantages = torch.tensor([1.0, -2.0, 4.0])
    loss, clip_fraction, approx_kl = clipped_surrogate(log_ratio, advantages, 0.2)
    assert loss.item() == pytest.approx(-1.0)
    assert clip_fraction.item() == 0.0
    assert approx_kl.item() == 0.0
    loss.backward()
    torch.testing.assert_close(log_ratio.grad, -advantages / 3)  # the plain policy gradient


def test_the_surrogate_clips_only_what_has_gone_too_far_the_good_way() -> None:
    # ratio, A: (1.5, +1) -> 1.2 (clipped); (1.5, -1) -> -1.5; (0.5, +1) -> 0.5; (0.5, -1) -> -0.8 (clipped)
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, clip_fraction, approx_kl = clipped_surrogate(log_ratio, advantages, 0.2)
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4)
    assert clip_fraction.item() == 1.0
    expected_kl = ((0.5 - math.log(1.5)) + (-0.5 - math.log(0.5))) / 2
    assert approx_kl.item() == pytest.approx(expected_kl)
    assert not approx_kl.requires_grad
    loss.backward()
    torch.testing.assert_close(log_ratio.grad, torch.tensor([0.0, 1.5, -0.5, 0.0]) / 4)


def test_token_ratios_take_the_turns_advantage_and_a_mask() -> None:
    log_ratio = torch.tensor([[0.0, math.log(1.1), NAN], [math.log(2.0), NAN, NAN]], requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    loss, clip_fraction, _ = clipped_surrogate(log_ratio, torch.tensor([[1.0], [-1.0]]), 0.2, mask)
    assert loss.item() == pytest.approx(-(1.0 + 1.1 - 2.0) / 3)
    assert clip_fraction.item() == pytest.approx(1 / 3)
    loss.backward()
    torch.testing.assert_close(log_ratio.grad, torch.tensor([[-1.0, -1.1, 0.0], [2.0, 0.0, 0.0]]) / 3)


def test_value_loss_is_half_the_mean_squared_error() -> None:
    assert value_loss(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0])).item() == pytest.approx(0.5 * 2.5)


def test_clipped_value_loss_takes_the_larger_error() -> None:
    values, returns, old = torch.tensor([3.0, 0.1]), torch.tensor([4.0, 1.0]), torch.tensor([1.0, 0.0])
    # First: clipped to 1.5, error max(1, 6.25). Second: inside the range, error 0.81 both ways.
    loss = value_loss(values, returns, old, clip_range=0.5)
    assert loss.item() == pytest.approx(0.5 * (6.25 + 0.81) / 2)


def test_value_loss_refuses_a_silent_broadcast() -> None:
    with pytest.raises(ValueError, match="shape"):
        value_loss(torch.zeros(4, 1), torch.zeros(4))
    with pytest.raises(ValueError, match="old_values"):
        value_loss(torch.zeros(4), torch.zeros(4), clip_range=0.2)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("k1", [0.5, -0.5, 12.0]),
        ("clip", [0.5, 0.0, 10.0]),
        ("abs", [0.5, 0.5, 12.0]),
        ("k3", [math.exp(-0.5) - 0.5, math.exp(0.5) - 1.5, math.exp(-12) + 11.0]),
    ],
)
def test_kl_per_token(estimator: SampledEstimator, expected: list[float]) -> None:
    agent, teacher = torch.tensor([-1.0, -1.0, -1.0]), torch.tensor([-1.5, -0.5, -13.0])
    torch.testing.assert_close(kl_per_token(agent, teacher, estimator), torch.tensor(expected))


@pytest.mark.parametrize("estimator", KL_ESTIMATORS)
def test_kl_is_zero_where_agent_and_teacher_agree(estimator: SampledEstimator) -> None:
    same = torch.tensor([-0.3, -4.0])
    assert torch.equal(kl_per_token(same, same, estimator), torch.zeros(2))


def test_token_log_probs_at_a_temperature() -> None:
    logits = torch.tensor([[math.log(9.0), 0.0]])
    tokens = torch.tensor([0])
    assert token_log_probs(logits, tokens).item() == pytest.approx(math.log(9 / 10))
    assert token_log_probs(logits, tokens, temperature=2.0).item() == pytest.approx(math.log(3 / 4))


def test_entropy() -> None:
    uniform = torch.zeros(2, 8)
    torch.testing.assert_close(entropy(uniform), torch.full((2,), math.log(8)))
    certain = torch.tensor([0.0, float("-inf"), float("-inf")])
    assert entropy(certain).item() == 0.0
    quarter = torch.tensor([3.0, 1.0]).log()
    assert entropy(quarter).item() == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
