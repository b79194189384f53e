"""Generalised advantage estimation over the turns of many environments side by side.

One step here is one turn of an episode (one thought and one action), not one token. A turn that *terminated* has no
future and bootstraps nothing. A turn that was *truncated* (cut off by a limit on turns) has a future that was not
played: it bootstraps from the value of the observation that the environment really reached, not of the first
observation of the next episode. The recursion stops at both, since what follows belongs to another episode.

Departure from the released code: there, termination and truncation are merged, which tells the value function that
a cut-off state is worth nothing.
"""

import torch
from torch import Tensor


@torch.no_grad()
def gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets of a block of turns.

    With ``delta_t = r_t + gamma * V(o_{t+1}) - V(o_t)`` (no bootstrap where terminated):
    ``A_t = delta_t + gamma * lam * A_{t+1}``, where the second term is dropped at an episode's last turn.
    The block's last row bootstraps from its `next_values` too, unless terminated.

    Args:
        rewards: ``(time, environments)``, the reward of each turn.
        values: ``(time, environments)``, the value of the observation that each turn saw.
        next_values: ``(time, environments)``, the value of the observation that each turn led to, before any
            automatic reset. Not read where the turn terminated.
        terminated: ``(time, environments)`` bool, the episode came to its own end at this turn.
        truncated: ``(time, environments)`` bool, the episode was cut off at this turn. Where both are set, the turn
            counts as terminated.
        gamma: discount for each turn, 0 to 1.
        lam: the lambda of GAE, 0 (one-step) to 1 (Monte Carlo).

    Returns:
        ``(advantages, returns)``, each ``(time, environments)``; ``returns = advantages + values`` are the value
        function's targets.

    Raises:
        ValueError: the shapes differ.

    Source: Schulman et al. 2016, https://arxiv.org/abs/1506.02438, equation 16.
    """
    for name, tensor in (
        ("values", values),
        ("next_values", next_values),
        ("terminated", terminated),
        ("truncated", truncated),
    ):
        if tensor.shape != rewards.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, rewards has {tuple(rewards.shape)}.")
    ended = terminated.bool() | truncated.bool()
    # where() and not a product: a terminal observation's value may be anything, even NaN.
    bootstrap = torch.where(terminated.bool(), torch.zeros_like(values), next_values)
    deltas = rewards + gamma * bootstrap - values
    advantages = torch.zeros_like(deltas)
    carried = torch.zeros(deltas.shape[1:], dtype=deltas.dtype, device=deltas.device)  # (environments,)
    for t in reversed(range(len(deltas))):
        following = torch.where(ended[t], torch.zeros_like(carried), carried)
        carried = deltas[t] + gamma * lam * following
        advantages[t] = carried
    return advantages, advantages + values
