"""From what a user names to an agent that plays.

A spec is ``NAME`` or ``NAME:ARGUMENT`` of a kind of agent, or the folder of a checkpoint. The kinds below are built in.
Others plug in by the entry-point group ``gtr_bench.agents``: a callable that takes the argument, empty if there is
none, and :class:`AgentOptions`, and returns a :class:`gtr_envs.episode.Policy`. Beside ``name`` and ``act``, a policy
may have

* ``meta``: what :func:`leaderboard.agent_card.describe_agent` reads;
* ``batch_limit``: the most turns to ask at once, as people and endpoints take few;
* ``usage``: what an endpoint was asked and paid so far in this process, numbers by name, ``cost`` in USD;
* ``count_as_spent(cost)``: takes USD that earlier attempts cost, for a cap on all of them together;
* ``interactive``: whether it needs the terminal for itself;
* ``close()``: gives back what is held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from gtr_envs.episode import Policy
from gtr_envs.errors import CheckpointError, GtrError, MissingExtraError, SettingError
from gtr_envs.experts import ExplorerPolicy, RandomPolicy, SolverPolicy
from leaderboard.agent_card import AgentCard as AgentCard
from leaderboard.agent_card import describe_agent as describe_agent
from leaderboard.agent_card import fingerprint as fingerprint

PLUG_INS = "gtr_bench.agents"
"""The entry-point group of further kinds of agents."""


@dataclass(frozen=True)
class AgentOptions:
    """How an agent is to play. An agent takes of it what fits its kind.

    Attributes:
        temperature: of the sampling; None for the one it was trained with, else 1.
        greedy: take the likeliest token each time; an endpoint is asked at temperature 0.
        max_new_tokens: tokens after which an answer is cut off; None for the agent's own limit.
        precision: of a model's forward passes; ``auto`` for the machine's own.
        concurrency: an endpoint's calls at a time.
        retries: further attempts after a call to an endpoint that failed.
        timeout_s: seconds to wait for an endpoint's answer.
        max_cost: USD at which an endpoint is asked no more, ``spent_before`` included; 0 for no cap.
        price_in: USD for a million tokens of the questions.
        price_out: USD for a million tokens of the answers.
        base_url: the endpoint's address; empty for OPENAI_BASE_URL, or OpenAI's own.
        spent_before: USD that earlier attempts at the same evaluation cost.
        record_scores: keep the log-prob of each token, where the agent knows it.

    Raises:
        SettingError: a value is out of range, or values do not go together.
    """

    temperature: float | None = None
    greedy: bool = False
    max_new_tokens: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    concurrency: int = 8
    retries: int = 5
    timeout_s: float = 120.0
    max_cost: float = 0.0
    price_in: float = 0.0
    price_out: float = 0.0
    base_url: str = ""
    spent_before: float = 0.0
    record_scores: bool = False

    def __post_init__(self) -> None:
        if self.temperature is not None and not 0.0 < self.temperature <= 10.0:
            raise SettingError(
                f"temperature {self.temperature} is not allowed; choose one above 0 and up to 10, or --greedy"
            )
        if self.temperature is not None and self.greedy:
            raise SettingError(
                f"--greedy samples nothing, so --temperature {self.temperature} means nothing; choose one"
            )
        for name in ("max_new_tokens", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingError(f"{name}={value} is not allowed; choose 1 or more")
        for name in ("retries", "timeout_s", "max_cost", "price_in", "price_out", "spent_before"):
            value = getattr(self, name)
            if not 0 <= value < math.inf or (name == "timeout_s" and value == 0):
                raise SettingError(
                    f"{name}={value} is not allowed; choose a number {'above' if name == 'timeout_s' else 'from'} 0"
                )
        if self.max_cost and not (self.price_in or self.price_out):
            raise SettingError(f"max_cost={self.max_cost} needs price_in and price_out, in USD for a million tokens")


Maker = Callable[[str, AgentOptions], Policy]


@dataclass(frozen=True)
class Kind:
    """A kind of agent.

    Attributes:
        make: from what stands behind the colon, and the options, to the agent.
        argument: what must stand behind the colon, as in ``MODEL``; empty where nothing may.
        libraries: what it needs beyond the base.
        extra: with which extra they come.
    """

    make: Maker
    argument: str = ""
    libraries: tuple[str, ...] = ()
    extra: str = "agent"


def _hub(name: str, options: AgentOptions) -> Policy:
    from leaderboard.model_agent import load_hub_model

    return load_hub_model(name, options)


def _packaged(name: str, options: AgentOptions) -> Policy:
    from gtr_agent.packaged import PREFIX
    from leaderboard.model_agent import load_checkpoint

    return load_checkpoint(Path(PREFIX + name), options)


def _openai(model: str, options: AgentOptions) -> Policy:
    from leaderboard.openai_agent import OpenAIPolicy

    return OpenAIPolicy(model, options)


def _human(_: str, options: AgentOptions) -> Policy:
    from leaderboard.human_agent import HumanPolicy

    return HumanPolicy()


MODEL_LIBRARIES = ("torch", "transformers", "peft")
KINDS: dict[str, Kind] = {
    "random": Kind(lambda _, options: RandomPolicy()),
    "expert": Kind(lambda _, options: SolverPolicy()),
    "explorer": Kind(lambda _, options: ExplorerPolicy()),
    "human": Kind(_human),
    "tiny": Kind(_packaged, "NAME", MODEL_LIBRARIES),
    "hf": Kind(_hub, "NAME_OR_PATH", MODEL_LIBRARIES),
    "openai": Kind(_openai, "MODEL", ("openai",), "api"),
}
"""The kinds that are built in. A plug-in of one of these names is not looked at."""


def allowed_agents() -> str:
    """The specs that there are, in words, with the kinds that are plugged in."""
    return (
        "choose random, expert, explorer (ALFWorld), human, tiny:NAME, hf:NAME_OR_PATH, openai:MODEL, "
        + "".join(f"{name}, " for name in sorted({point.name for point in _plug_ins()} - set(KINDS)))
        + "or the folder of a checkpoint"
    )


def _plug_ins(name: str | None = None) -> list[metadata.EntryPoint]:
    found = metadata.entry_points(group=PLUG_INS)
    return [point for point in found if name is None or point.name == name]


def check_agent(spec: str) -> None:
    """Make sure that a spec names an agent, without loading it.

    Raises:
        SettingError: the spec names nothing, or its argument is missing or too much.
        CheckpointError: the folder is missing.
        MissingExtraError: the agent needs libraries that are not installed.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None and _plug_ins(name):
        return
    if kind is None:
        _check_folder(spec)
        kind = Kind(_hub, libraries=MODEL_LIBRARIES)
    elif kind.argument and not argument.strip():
        raise SettingError(f"agent {spec!r} lacks its argument; write {name}:{kind.argument}")
    elif colon and not kind.argument:
        raise SettingError(f"agent {spec!r}: {name} takes no argument; write {name}")
    missing = [library for library in kind.libraries if find_spec(library) is None]
    if missing:
        raise MissingExtraError(
            f"agent {spec!r} needs {', '.join(missing)}, which is not installed: pip install 'gtr-bench[{kind.extra}]'"
        )
    if name == "tiny":
        from gtr_agent.packaged import packaged_folder

        packaged_folder(spec)


def _check_folder(spec: str) -> None:
    folder = Path(spec)
    if spec.strip() and folder.is_dir():
        inside = [] if _may_hold_agent(folder) else sorted(filter(_may_hold_agent, folder.iterdir()))
        if inside:
            there = ", ".join(map(str, inside[:5])) + (", ..." if len(inside) > 5 else "")
            raise CheckpointError(f"{folder} is no checkpoint, model or run, but has some in it; choose one: {there}")
        return
    if len(folder.parts) <= 1 and not folder.suffix and (not folder.exists() or not spec.strip()):
        raise SettingError(f"unknown agent {spec!r}; {allowed_agents()}")
    fault = "is a file" if folder.exists() else "does not exist"
    raise CheckpointError(f"checkpoint {spec} {fault}; {allowed_agents()} (gtr-bench train makes them)")


def _may_hold_agent(folder: Path) -> bool:
    """Whether a folder looks like an adapter, a whole model or a training run; loading it finds out."""
    return any((folder / part).exists() for part in ("adapter_config.json", "config.json", "checkpoints"))


def is_local_model(spec: str) -> bool:
    """Whether an agent runs a model in this process, whose libraries then speak up in the terminal."""
    name = spec.partition(":")[0]
    return name in ("hf", "tiny") or (name not in KINDS and not _plug_ins(name) and Path(spec).is_dir())


def load_agent(spec: str, options: AgentOptions | None = None) -> Policy:
    """Load an agent.

    Args:
        spec: ``random``, ``expert``, ``explorer``, ``human``, ``tiny:NAME``, ``hf:NAME_OR_PATH``, ``openai:MODEL``, a
            plugged-in kind, or the folder of a checkpoint, a model or a training run (its newest checkpoint).
        options: how it is to play; the defaults if None.

    Raises:
        SettingError: the spec names nothing, or a plug-in is broken.
        CheckpointError: the model is missing or damaged.
        MissingExtraError: the agent needs libraries that are not installed.
    """
    options = options or AgentOptions()
    check_agent(spec)
    name, _, argument = spec.partition(":")
    if name in KINDS:
        return KINDS[name].make(argument.strip(), options)
    if _plug_ins(name):
        return _plugged_in(name, argument, options)
    from leaderboard.model_agent import load_checkpoint

    return load_checkpoint(Path(spec), options)


def _plugged_in(name: str, argument: str, options: AgentOptions) -> Policy:
    """Make an agent of a plugged-in kind; whatever is wrong with the plug-in, the user learns which one it is."""
    points = _plug_ins(name)
    values = sorted({point.value for point in points})
    if len(values) > 1:
        raise SettingError(f"agent {name!r} is plugged in twice ({', '.join(values)}); uninstall one of the packages")
    broken = f"the plug-in for agent {name!r} ({values[0]}) is broken"
    mend = "update or uninstall its package"
    try:
        policy = points[0].load()(argument, options)
    except GtrError:
        raise
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise SettingError(f"{broken} ({type(error).__name__}: {first}); {mend}") from error
    if not isinstance(getattr(policy, "name", None), str) or not callable(getattr(policy, "act", None)):
        raise SettingError(
            f"{broken}: it made a {type(policy).__name__}, and a policy has a name and act(requests); {mend}"
        )
    made: Policy = policy
    return made
