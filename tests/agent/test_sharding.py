"""The base model spread over processes: the same run, with a part of the weights in each."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gtr_agent.launch import sharding_asked_for
from gtr_agent.ppo import Piece, Report, Update, idle
from gtr_agent.settings import Settings
from gtr_agent.sft import run_sft
from gtr_agent.sharding import NoSharding, blocks, check_sharding, shard
from gtr_agent.train import train
from gtr_envs.errors import SettingError
from tests.agent.test_ranks import run_two

FSDP = {"ACCELERATE_USE_FSDP": "true"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The same run of two processes, without sharding and with it."""
    out = tmp_path_factory.mktemp("sharded")
    for ended in run_two(["-m", "tests.agent.sharded_in_two", str(tiny_folder), str(out)]):
        assert ended.returncode == 0, ended.stderr[-3000:]
    return out


def adapter(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "update-000002" / "adapter_model.safetensors")


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    """The largest distance of two adapters' tensors, relative to their size.

    Adam's first step is as large for a gradient of next to nothing as for any other, so single weights may go apart.
    """
    return max(float((second[name] - tensor).norm() / tensor.norm()) for name, tensor in first.items())


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][:2]


def test_a_sharded_run_is_the_same_run(runs: Path) -> None:
    whole, sharded = adapter(runs / "whole-gtr-turbo-kl"), adapter(runs / "FSDP-gtr-turbo-kl")
    assert sum(float(tensor.abs().sum()) for name, tensor in whole.items() if "lora_B" in name) > 0.01
    assert sharded.keys() == whole.keys()
    # Whole weights have the teacher's change folded in, which rounds otherwise.
    assert distance(whole, sharded) < 1e-3
    before, after = metrics(runs / "whole-gtr-turbo-kl")[1], metrics(runs / "FSDP-gtr-turbo-kl")[1]
    assert after["thought_tokens"] == before["thought_tokens"]
    assert after["teacher_kl"] == pytest.approx(before["teacher_kl"], abs=1e-5)
    assert after["teacher_change"] == pytest.approx(before["teacher_change"], rel=1e-3)
    assert after["ratio_at_start"] < 1e-5


def test_thoughts_are_learned_by_sharded_weights(runs: Path) -> None:
    whole, sharded = adapter(runs / "whole-gtr"), adapter(runs / "FSDP-gtr")
    assert distance(whole, sharded) < 1e-3
    before, after = metrics(runs / "whole-gtr")[1], metrics(runs / "FSDP-gtr")[1]
    assert after["thoughts_learned"] == before["thoughts_learned"] > 0
    assert after["sft_loss"] == pytest.approx(before["sft_loss"], rel=1e-5)


def test_a_sharded_run_is_gone_on_with(runs: Path) -> None:
    before = load_file(runs / "before" / "adapter_model.safetensors")
    again = adapter(runs / "FSDP-gtr-turbo-kl")
    assert all(torch.equal(again[name], tensor) for name, tensor in before.items())


def test_each_process_holds_its_part_and_all_while_nothing_is_learned(runs: Path) -> None:
    parts = [json.loads((runs / f"FSDP-{rank}.json").read_text()) for rank in (0, 1)]
    everything = parts[0]["all"]
    assert everything <= sum(part["held"] for part in parts) < 1.01 * everything, "with what fills up the last part"
    for part in parts:
        assert part["held"] < 0.51 * everything
        assert (part["between"], part["within"], part["after"]) == (0, everything, 0)


def test_the_blocks_are_nearly_the_whole_of_a_large_model() -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration

    from benchmarks.shapes import shape_config

    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(shape_config("qwen2.5-vl-7b"))
    found = blocks(model)
    assert {type(block).__name__ for block in found} == {"Qwen2_5_VLVisionBlock", "Qwen2_5_VLDecoderLayer"}
    inside = {id(weight) for block in found for weight in block.parameters()}
    outside = sum(weight.numel() for weight in model.parameters() if id(weight) not in inside)
    embeddings = model.get_input_embeddings().weight.numel() + model.get_output_embeddings().weight.numel()
    assert outside < 1.05 * embeddings


def test_blocks_are_those_of_the_outermost_lists() -> None:
    inner = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    layers = nn.ModuleList([nn.ModuleDict({"experts": inner}), nn.Linear(1, 1), nn.Identity()])
    model = nn.ModuleDict({"embed": nn.Embedding(2, 1), "decoder": nn.ModuleDict({"layers": layers})})
    assert blocks(model) == [layers[0], layers[1]]


def test_processes_make_equally_many_passes() -> None:
    def loss() -> tuple[torch.Tensor, Report]:
        return weight * 2.0, Report({"loss": (1.0, 1.0)}, 0.5)

    weight = torch.tensor(3.0, requires_grad=True)
    piece = Piece(loss, lambda out: out)
    update = SimpleNamespace(in_step=True, ranks=SimpleNamespace(largest=lambda _: 3))
    found = Update._as_many_as_others(update, [piece])  # type: ignore[arg-type]
    assert [one is piece for one in found] == [True, False, False]
    nothing, (value, report) = found[1]()
    assert (float(nothing.detach()), value, report) == (0.0, 0.0, Report({}))
    assert float(torch.autograd.grad(nothing, weight)[0]) == 0.0
    assert idle(piece).save(Path("here")) == Path("here")
    update.in_step = False
    assert Update._as_many_as_others(update, [piece]) == [piece]  # type: ignore[arg-type]


def test_one_process_has_nobody_to_share_with(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, FSDP)
    sharding = shard(nn.Linear(2, 2), SimpleNamespace(count=1))  # type: ignore[arg-type]
    assert isinstance(sharding, NoSharding)
    with sharding.whole():
        pass


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, False),
        ({"ACCELERATE_USE_FSDP": "false"}, False),
        (FSDP, True),
        (FSDP | {"FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true", "FSDP_OFFLOAD_PARAMS": "false"}, True),
    ],
)
def test_what_the_launcher_asks_for(monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], found: bool) -> None:
    set_all(monkeypatch, asked)
    assert sharding_asked_for() is found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed, which is not supported; FSDP is: .*/accelerate/fsdp.yaml"),
        (FSDP | {"FSDP_VERSION": "1"}, "fsdp_version: 1"),
        (FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "false"}, "fsdp_reshard_after_forward: false"),
        (FSDP | {"FSDP_RESHARD_AFTER_FORWARD": "HYBRID_SHARD"}, "fsdp_reshard_after_forward: hybrid_shard"),
        (FSDP | {"FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params"),
    ],
)
@pytest.mark.parametrize("start", [train, run_sft])
def test_what_is_not_done_is_refused_by_name(
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Any,
    asked: dict[str, str],
    message: str,
) -> None:
    set_all(monkeypatch, asked)
    with pytest.raises(SettingError, match=message):
        start(settings, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["train_folded", "collect_folded"])
def test_folding_needs_whole_weights(settings: Settings, monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    def with_it(value: bool | str) -> Settings:
        plain = {"train_folded": False, "collect_folded": "auto", setting: value}
        return settings.model_copy(update={"model": settings.model.model_copy(update=plain)})

    check_sharding(with_it(True))
    set_all(monkeypatch, FSDP)
    with pytest.raises(SettingError, match=f"FSDP, and model.{setting}=true .* --set model.{setting}=false"):
        check_sharding(with_it(True))
    with pytest.raises(SettingError, match="go on with it without sharding"):
        check_sharding(with_it(True), resume=True)
    check_sharding(with_it(False))
