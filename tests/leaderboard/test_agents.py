"""From a spec to an agent, and the errors on the way."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from gtr_envs.episode import Request, Response
from gtr_envs.errors import CheckpointError, MissingExtraError, SettingError
from leaderboard import agent_card, agents
from leaderboard.agent_card import plain_name
from leaderboard.agents import AgentOptions, check_agent, describe_agent, fingerprint, is_local_model, load_agent
from leaderboard.cli import main
from leaderboard.records import read_meta


@pytest.mark.parametrize("spec", ["random", "expert"])
def test_built_in_agents(spec: str) -> None:
    policy = load_agent(spec)
    card = describe_agent(spec, policy)
    assert (card.name, card.method, card.temperature, card.fingerprint) == (spec, spec, None, None)
    assert describe_agent(spec, policy, name="other").name == "other"


def test_a_folder_of_runs_names_those_in_it(tmp_path: Path) -> None:
    (tmp_path / "turbo" / "checkpoints").mkdir(parents=True)
    (tmp_path / "results").mkdir()
    with pytest.raises(CheckpointError, match=f"choose one: {re.escape(str(tmp_path / 'turbo'))}$"):
        check_agent(str(tmp_path))


def test_an_unknown_agent_is_told_what_is_allowed() -> None:
    with pytest.raises(SettingError, match="unknown agent 'solver'; choose random, expert, explorer"):
        load_agent("solver")


def test_a_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not exist.*gtr-bench train"):
        load_agent(str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        load_agent(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(({"temperature": value}, "--greedy") for value in (0.0, -1.0, 11.0, float("nan"))),
        ({"temperature": 0.5, "greedy": True}, "choose one"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"retries": -1}, "retries=-1"),
        ({"timeout_s": 0.0}, "above 0"),
        ({"max_cost": float("inf")}, "max_cost=inf"),
        ({"max_cost": 1.0}, "needs price_in and price_out"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        AgentOptions(**changes)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hf:", "write hf:NAME_OR_PATH"),
        ("openai: ", "write openai:MODEL"),
        ("random:1", "random takes no argument"),
        ("", "unknown agent"),
        ("solver:1", "unknown agent"),
    ],
)
def test_specs_that_name_nothing(spec: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        check_agent(spec)


def test_a_kind_whose_libraries_are_not_there_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"openai.*gtr-bench\[api\]"):
        check_agent("openai:m")
    with pytest.raises(MissingExtraError, match=r"torch, transformers, peft.*gtr-bench\[agent\]"):
        check_agent("hf:m")


@pytest.mark.parametrize(
    ("text", "name"),
    [("org/Model-7B", "Model-7B"), ("a model:free", "a-model-free"), ("../..", "agent"), ("x" * 200, "x" * 100)],
)
def test_a_models_name_becomes_a_folders(text: str, name: str) -> None:
    assert plain_name(text) == name


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "-n", "x" * 101, "a\n"])
def test_names_that_are_no_folder(name: str) -> None:
    policy = load_agent("random")
    policy.name = name or ".."
    with pytest.raises(SettingError, match="--name"):
        describe_agent("random", policy, name=name)


def test_a_fingerprint_follows_the_weights_alone(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"weights")
    first = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("a card")
    assert fingerprint(tmp_path) == first
    (tmp_path / "adapter_model.safetensors").write_bytes(b"Weights")
    assert fingerprint(tmp_path) != first


def test_a_large_file_is_sampled_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_card, "_WHOLE", 10)
    monkeypatch.setattr(agent_card, "_BLOCK", 4)
    seen = set()
    for content in (b"a" * 400, b"b" + b"a" * 399, b"a" * 399 + b"b", b"a" * 401):
        (tmp_path / "model.safetensors").write_bytes(content)
        seen.add(fingerprint(tmp_path))
    assert len(seen) == 4


class Parrot:
    """A plugged-in agent: always says the same."""

    def __init__(self, said: str, options: AgentOptions) -> None:
        self.name = "parrot"
        self.said = said
        self.meta = {"method": "parroting", "temperature": 0.0 if options.greedy else 1.0, "max_new_tokens": 3}

    def act(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(self.said) for _ in requests]


def no_policy(argument: str, options: AgentOptions) -> str:
    return argument


def failing(argument: str, options: AgentOptions) -> Parrot:
    raise RuntimeError(f"cannot speak {argument}\nfor long")


def refusing(argument: str, options: AgentOptions) -> Parrot:
    raise SettingError("parrots need seeds; feed them")


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plug kinds of agents in, as if packages with such entry points were installed."""

    def plug_in(*pairs: tuple[str, str]) -> None:
        points = EntryPoints(EntryPoint(name, value, agents.PLUG_INS) for name, value in pairs)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda **wanted: points.select(**wanted))

    return plug_in


def test_a_plugged_in_kind_of_agent_is_evaluated_like_any_other(plug_in: Callable[..., None], tmp_path: Path) -> None:
    plug_in(("parrot", f"{__name__}:Parrot"))
    said = '{"player": [], "dealer": "", "thoughts": "", "action": "stick"}'
    out = ["--out", str(tmp_path), "--env", "gtr/Blackjack-v0", "-n", "3", "--greedy"]
    assert main(["eval", "--agent", f"parrot:{said}", *out]) == 0
    meta = read_meta(next(tmp_path.rglob("meta.json")).parent)
    assert (meta.agent.split("-")[0], meta.method, meta.temperature) == ("parrot", "parroting", 0.0)
    assert isinstance(load_agent("parrot"), Parrot)
    assert not is_local_model("parrot")
    with pytest.raises(SettingError, match=r"openai:MODEL, parrot, or the folder"):
        load_agent("budgie")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("odd", f"{__name__}:no_policy")], r"plug-in for agent 'odd' \(.*:no_policy\) is broken: it made a str"),
        ([("odd", f"{__name__}:failing")], r"is broken \(RuntimeError: cannot speak x\)"),
        ([("odd", f"{__name__}:gone")], r"is broken \(AttributeError"),
        ([("odd", "no_such_package:make")], r"is broken \(ModuleNotFoundError"),
        ([("odd", f"{__name__}:refusing")], "parrots need seeds"),
        ([("odd", f"{__name__}:Parrot"), ("odd", f"{__name__}:failing")], "plugged in twice"),
    ],
)
def test_a_broken_plug_in_is_named(pairs: list[tuple[str, str]], said: str, plug_in: Callable[..., None]) -> None:
    plug_in(*pairs)
    with pytest.raises(SettingError, match=said):
        load_agent("odd:x")


def test_a_plug_in_cannot_take_the_place_of_a_built_in_kind(plug_in: Callable[..., None]) -> None:
    plug_in(("random", f"{__name__}:Parrot"))
    assert describe_agent("random", load_agent("random")).method == "random"
