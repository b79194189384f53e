"""Agents that are models run in this process: a checkpoint's folder, or any model that transformers knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gtr_envs.episode import Policy
from gtr_envs.errors import CheckpointError, GtrError, MissingExtraError
from leaderboard.agent_card import plain_name
from leaderboard.agents import AgentOptions


def load_checkpoint(folder: Path, options: AgentOptions) -> Policy:
    """Load the agent in a folder: an adapter, a whole model, or a training run's newest checkpoint.

    Args:
        folder: trained here, or elsewhere and then without notes: it samples at temperature 1 and writes 256 tokens
            at most, unless the options say otherwise.
        options: how it is to play.

    Raises:
        CheckpointError: there is no agent there, it is damaged, or its base model cannot be found.
        MissingExtraError: playing a model needs libraries that are not installed.
    """
    return _load(folder, options)


def load_hub_model(name: str, options: AgentOptions) -> Policy:
    """Load any image-text-to-text model that transformers' Auto classes know.

    Args:
        name: on the Hugging Face hub, or a folder in its layout.
        options: how it is to play.

    Raises:
        CheckpointError: there is no such model, or it is not in the cache and the hub cannot be reached.
        MissingExtraError: playing a model needs libraries that are not installed.
    """
    if Path(name).is_dir():
        return load_checkpoint(Path(name), options)
    policy = _load(name, options)
    policy.name = plain_name(name)
    return policy


def _load(agent: Path | str, options: AgentOptions) -> Policy:
    """Load a folder, or a model by name; whatever a library says of a broken one, the user needs one line and a fix."""
    try:
        from gtr_agent.policy import load_named_policy, load_policy

        load: Callable[..., Policy] = load_policy if isinstance(agent, Path) else load_named_policy
        return load(
            agent,
            temperature=options.temperature,
            greedy=options.greedy,
            max_new_tokens=options.max_new_tokens,
            precision=options.precision,
        )
    except ImportError as error:
        if isinstance(error, GtrError) or (error.name or "").startswith("gtr_agent"):
            raise
        raise MissingExtraError(f"playing a model needs {error.name}: pip install 'gtr-bench[agent]'") from error
    except GtrError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        what = f"checkpoint {agent}" if isinstance(agent, Path) else f"model {agent}"
        raise CheckpointError(
            f"{what} is damaged or cannot be run here ({type(error).__name__}: {first}); choose another checkpoint or "
            "model, or train again"
        ) from error
