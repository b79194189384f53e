"""The losses and KL estimators of GTR-Turbo and its baselines: pure functions on tensors.

Log-probabilities are in nats. A mask is 1 (or True) where a token counts. ``tokens`` is the padded length of the
answers in a batch, ``turns`` the number of turns in it.

Sources, named in each docstring: GTR-Turbo (https://arxiv.org/abs/2512.13043), RL4VLM
(https://arxiv.org/abs/2405.10292), PPO (https://arxiv.org/abs/1707.06347), and Schulman's note "Approximating KL
divergence" (http://joschu.net/blog/kl-approx.html) for the names k1 and k3.

Departures from the released code, and why:

* The KL is a mean over the thought tokens that the agent sampled, scored by agent and teacher on the same image and
  prompt; the released code scores a re-serialised thought without the image.
* Logits and labels come aligned (position i predicts label i), so that a shift by one is made in one place only,
  where the model is called.
* A value that is not finite goes through to the loss, where the trainer can see and name it; nothing is skipped here.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gtr_envs.errors import SettingError

SampledEstimator = Literal["k1", "clip", "abs", "k3"]
Direction = Literal["reverse", "forward"]
KL_ESTIMATORS: tuple[SampledEstimator, ...] = ("k1", "clip", "abs", "k3")
"""Those that need the sampled tokens alone; the exact KL is `gtr_agent.logits.vocabulary_kl`."""

# The released code's bounds, in nats per token: a surprising token cannot swamp the reward.
KL_CLIP_MIN = 0.0
KL_CLIP_MAX = 10.0


def masked_mean(values: Tensor, mask: Tensor | None = None, dim: int | None = None) -> Tensor:
    """The mean over the entries where the mask is 1, and 0 where there is none.

    Args:
        values: any shape. Entries outside the mask are not read (they may be NaN).
        mask: of a shape that broadcasts to that of `values`; None counts every entry.
        dim: the dimension to take the mean over; None takes all.

    Returns:
        A scalar, or the shape of `values` without `dim`.
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask.bool().expand_as(values)
    kept = torch.where(mask, values, torch.zeros_like(values))
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim=dim) / mask.sum(dim=dim).clamp(min=1)


def token_log_probs(logits: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """The log-probability of given tokens, under the distribution that sampling at `temperature` draws from.

    Args:
        logits: ``(..., vocabulary)``; position i predicts token i (already shifted).
        tokens: ``(...)`` token ids.
        temperature: above 0; the same as in sampling, so that PPO's ratio is 1 on policy.

    Returns:
        ``(...)`` log-probabilities in nats, float32.
    """
    return log_probs_of(logits, temperature).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def log_probs_of(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The log-probabilities in nats of all tokens, float32; arguments as for `token_log_probs`."""
    logits = logits.float()
    return functional.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The entropy of the next-token distribution at each position.

    Args:
        logits: ``(..., vocabulary)``; minus infinity marks a token that cannot be drawn.
        temperature: above 0.

    Returns:
        ``(...)`` entropies in nats, float32: 0 for a certain token, ``log(vocabulary)`` for a uniform one.
    """
    return entropy_of(log_probs_of(logits, temperature))


def entropy_of(log_probs: Tensor) -> Tensor:
    """The entropy of distributions whose log-probabilities are known; shapes as for `entropy`."""
    # p * log p goes to 0 with p; written out it would be 0 * -inf.
    finite = log_probs.clamp_min(torch.finfo(log_probs.dtype).min)
    return -(log_probs.exp() * finite).sum(dim=-1)


def turn_log_prob(log_probs: Tensor, thought_mask: Tensor, action_mask: Tensor, thought_coef: float) -> Tensor:
    """The log-probability that a turn's ratio is made of: ``lambda * log p(thought) + log p(action)``.

    Args:
        log_probs: ``(turns, tokens)`` log-probabilities of the sampled tokens, in nats.
        thought_mask: ``(turns, tokens)``, 1 = a token of the thought.
        action_mask: ``(turns, tokens)``, 1 = a token of the action. The masks should not overlap.
        thought_coef: lambda, 0 to 1: thoughts are many tokens long and would drown the action at 1.

    Returns:
        ``(turns,)`` weighted sums. Tokens in neither mask (padding) are not read.

    Source: RL4VLM (2405.10292), the action log-probability with scaling factor lambda on the chain of thought, in the
    section on estimating action probabilities of VLM policies.
    """
    nothing = torch.zeros_like(log_probs)
    thought = torch.where(thought_mask.bool(), log_probs, nothing).sum(dim=-1)
    action = torch.where(action_mask.bool(), log_probs, nothing).sum(dim=-1)
    return thought_coef * thought + action


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_range: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """PPO's clipped surrogate loss: ``-mean(min(ratio * A, clip(ratio, 1 - clip_range, 1 + clip_range) * A))``.

    Args:
        log_ratio: ``log pi_new - log pi_old``, ``(turns,)``, or ``(turns, tokens)`` for ratios of single tokens.
        advantages: of a shape that broadcasts to that of `log_ratio`: ``(turns,)`` or ``(turns, 1)``.
        clip_range: how far the ratio may gain from moving away from 1, above 0.
        mask: None, or 1 where an entry counts.

    Returns:
        Three scalars: the loss (to be minimised, with its gradient); the share of entries whose ratio lies outside
        the clip range; and an estimate of ``KL(old || new)`` in nats, the k3 estimator ``mean(ratio - 1 - log_ratio)``.
        The latter two carry no gradient.

    Source: PPO (1707.06347), equation 7; k3 from Schulman's note.
    """
    if mask is not None:  # a padded entry must not reach the gradient either, whatever it holds
        log_ratio = torch.where(mask.bool(), log_ratio, torch.zeros_like(log_ratio))
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1.0 - clip_range, 1.0 + clip_range) * advantages)
    loss = -masked_mean(surrogate, mask)
    with torch.no_grad():
        clip_fraction = masked_mean(((ratio - 1.0).abs() > clip_range).to(ratio.dtype), mask)
        approx_kl = masked_mean(torch.expm1(log_ratio) - log_ratio, mask)
    return loss, clip_fraction, approx_kl


def value_loss(
    values: Tensor, returns: Tensor, old_values: Tensor | None = None, clip_range: float | None = None
) -> Tensor:
    """Half the mean squared error of the value function, optionally clipped around its old prediction.

    Args:
        values: ``(turns,)`` predictions, with gradient.
        returns: ``(turns,)`` targets.
        old_values: ``(turns,)`` predictions at collection; needed with `clip_range`.
        clip_range: None for the plain loss, else how far a prediction may gain from moving away from `old_values`.

    Returns:
        A scalar: ``0.5 * mean((V - R)^2)``, or ``0.5 * mean(max((V - R)^2, (V_clipped - R)^2))``.

    Raises:
        ValueError: shapes that differ (a silent broadcast would give a wrong loss), or clipping without `old_values`.

    Source: PPO (1707.06347), equation 9; the clipped form is an implementation detail of PPO's first release.
    """
    if values.shape != returns.shape:
        raise ValueError(f"values has shape {tuple(values.shape)}, returns has {tuple(returns.shape)}.")
    error = (values - returns).square()
    if clip_range is None:
        return 0.5 * error.mean()
    if old_values is None or old_values.shape != values.shape:
        raise ValueError("Clipping the value loss needs old_values, of the shape of values.")
    clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum(error, (clipped - returns).square()).mean()


def kl_per_token(
    agent_lp: Tensor, teacher_lp: Tensor, estimator: SampledEstimator, direction: Direction = "reverse"
) -> Tensor:
    """Estimates the KL between agent and teacher token by token, from tokens that the *agent* sampled.

    With ``d = agent_lp - teacher_lp``, for the reverse KL ``KL(agent || teacher)``:

    * ``"k1"``: ``d``, unbiased, may be negative;
    * ``"clip"``: ``d`` clamped to 0 and 10: what the paper uses, negative values count as agreement;
    * ``"abs"``: the magnitude of ``d``;
    * ``"k3"``: ``exp(-d) - 1 + d``, unbiased and never negative.

    For the forward KL ``KL(teacher || agent)`` the agent's samples are weighted with ``w = teacher / agent``: k1 is
    ``-w * d``, clip and abs are taken of that, and k3 is ``w * (exp(d) - 1 - d)``, which is ``1 - w - w * d``.

    Args:
        agent_lp: log-probabilities of the sampled tokens under the agent, any shape, nats.
        teacher_lp: of the same tokens under the teacher, the same shape.
        estimator: one of `KL_ESTIMATORS`.
        direction: ``"reverse"`` or ``"forward"``.

    Returns:
        The estimates in nats, the same shape.

    Raises:
        SettingError: an unknown estimator.

    Source: GTR-Turbo (2512.13043), the reverse KL of the KL variant and its ablations; Schulman's note.
    """
    difference = agent_lp - teacher_lp
    weight = torch.exp(-difference)
    first = difference if direction == "reverse" else -weight * difference
    if estimator == "k1":
        return first
    if estimator == "clip":
        return first.clamp(KL_CLIP_MIN, KL_CLIP_MAX)
    if estimator == "abs":
        return first.abs()
    if estimator == "k3":
        return torch.expm1(-difference) + difference if direction == "reverse" else 1 - weight - weight * difference
    raise SettingError(f"Unknown KL estimator {estimator!r}: it is one of {', '.join(KL_ESTIMATORS)}.")
