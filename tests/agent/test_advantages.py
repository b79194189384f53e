"""GAE by hand-worked numbers, the ends of episodes first of all."""

import pytest
import torch

from gtr_agent.advantages import gae


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1)


def flags(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool).reshape(-1, 1)


REWARDS = column(1.0, 2.0, 3.0)
VALUES = column(0.5, 1.0, 1.5)
NEXT_VALUES = column(1.0, 1.5, 2.0)
NO = flags(0, 0, 0)


def test_without_an_end_the_last_turn_bootstraps() -> None:
    # delta: 1 + 0.5*1.0 - 0.5 = 1.0;  2 + 0.5*1.5 - 1.0 = 1.75;  3 + 0.5*2.0 - 1.5 = 2.5.   gamma * lam = 0.4
    advantages, returns = gae(REWARDS, VALUES, NEXT_VALUES, NO, NO, gamma=0.5, lam=0.8)
    torch.testing.assert_close(advantages, column(1.0 + 0.4 * 2.75, 1.75 + 0.4 * 2.5, 2.5))
    torch.testing.assert_close(returns, advantages + VALUES)


def test_a_terminated_turn_bootstraps_nothing_and_stops_the_recursion() -> None:
    advantages, _ = gae(REWARDS, VALUES, NEXT_VALUES, flags(0, 1, 0), NO, gamma=0.5, lam=0.8)
    # delta_1 = 2 - 1.0 = 1.0, and nothing of turn 2 flows back.
    torch.testing.assert_close(advantages, column(1.0 + 0.4 * 1.0, 1.0, 2.5))


def test_a_truncated_turn_bootstraps_and_stops_the_recursion() -> None:
    advantages, _ = gae(REWARDS, VALUES, NEXT_VALUES, NO, flags(0, 1, 0), gamma=0.5, lam=0.8)
    # delta_1 = 2 + 0.5*1.5 - 1.0 = 1.75, and nothing of turn 2 flows back.
    torch.testing.assert_close(advantages, column(1.0 + 0.4 * 1.75, 1.75, 2.5))


def test_a_truncated_turn_uses_the_true_next_observation_not_the_next_row() -> None:
    # Row 1 starts a new episode whose first value is 100: it must not leak into turn 0, cut off at value 7.
    advantages, _ = gae(
        column(1.0, 0.0), column(2.0, 100.0), column(7.0, 0.0), flags(0, 1), flags(1, 0), gamma=1.0, lam=1.0
    )
    torch.testing.assert_close(advantages, column(1.0 + 7.0 - 2.0, -100.0))


def test_terminated_wins_over_truncated() -> None:
    both, _ = gae(REWARDS, VALUES, NEXT_VALUES, flags(0, 0, 1), flags(0, 0, 1), gamma=0.5, lam=0.8)
    only, _ = gae(REWARDS, VALUES, NEXT_VALUES, flags(0, 0, 1), NO, gamma=0.5, lam=0.8)
    assert torch.equal(both, only)


def test_a_terminal_observation_needs_no_value() -> None:
    nan_at_the_end = column(1.0, 1.5, float("nan"))
    advantages, returns = gae(REWARDS, VALUES, nan_at_the_end, flags(0, 0, 1), NO, gamma=0.5, lam=0.8)
    assert torch.isfinite(advantages).all()
    assert returns[-1].item() == pytest.approx(3.0)


def test_lambda_0_is_one_step_and_lambda_1_is_monte_carlo() -> None:
    one_step, _ = gae(REWARDS, VALUES, NEXT_VALUES, flags(0, 0, 1), NO, gamma=0.5, lam=0.0)
    torch.testing.assert_close(one_step, column(1.0, 1.75, 1.5))
    _, returns = gae(REWARDS, VALUES, NEXT_VALUES, flags(0, 0, 1), NO, gamma=0.5, lam=1.0)
    torch.testing.assert_close(returns, column(1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3.0))


def test_environments_do_not_touch_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, values, next_values = (torch.randn(8, 3, generator=generator) for _ in range(3))
    terminated = torch.rand(8, 3, generator=generator) < 0.2
    truncated = torch.rand(8, 3, generator=generator) < 0.2
    together, _ = gae(rewards, values, next_values, terminated, truncated, gamma=0.9, lam=0.95)
    for i in range(3):
        arguments = [tensor[:, i : i + 1] for tensor in (rewards, values, next_values, terminated, truncated)]
        alone, _ = gae(*arguments, gamma=0.9, lam=0.95)
        torch.testing.assert_close(together[:, i : i + 1], alone)


def test_no_turns_give_no_advantages() -> None:
    empty = torch.zeros(0, 4)
    advantages, returns = gae(empty, empty, empty, empty.bool(), empty.bool(), gamma=0.9, lam=0.95)
    assert advantages.shape == returns.shape == (0, 4)


def test_shapes_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"truncated has shape \(2, 1\)"):
        gae(REWARDS, VALUES, NEXT_VALUES, NO, flags(0, 0), gamma=0.5, lam=0.8)
