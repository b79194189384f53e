"""Merging an adapter for good: nothing of it is lost in the sum, whatever the weights were held in."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gtr_agent.lora import add_lora, merge_lora
from gtr_agent.model import load_model
from gtr_agent.settings import Settings
from gtr_agent.sft import run_sft


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_a_small_change_survives_the_merge(settings: Settings, tiny_folder: Path, kind: torch.dtype) -> None:
    model = add_lora(load_model(tiny_folder).to(kind), settings.model, seed=0)
    layer = next(module for module in model.modules() if hasattr(module, "lora_A"))
    with torch.no_grad():
        layer.lora_B["default"].weight.fill_(1e-6)
    base = layer.get_base_layer().weight.detach().float().clone()
    change = layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float()
    wanted = base + change.detach() * layer.scaling["default"]
    rounded = wanted.bfloat16().float() - base
    if kind is torch.bfloat16:
        assert (rounded != 0).float().mean() < 0.2, "in bfloat16 next to nothing of the change would be left"
    name = next(name for name, module in model.get_base_model().named_modules() if module is layer)
    merged = merge_lora(model)
    torch.testing.assert_close(merged.get_submodule(name).weight, wanted, rtol=0, atol=1e-9)
    assert {weight.dtype for weight in merged.parameters()} == {torch.float32}


def test_a_warm_start_of_an_adapter_is_saved_in_float32(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_on_a_gpu(*_: Any) -> torch.dtype:
        return torch.bfloat16

    monkeypatch.setattr("gtr_agent.model.weights_type", as_on_a_gpu)
    lora = settings.model.model_copy(update={"adapter": "lora", "precision": "bfloat16"})
    folder = run_sft(settings.model_copy(update={"model": lora}), tmp_path / "warm")
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert '"dtype": "float32"' in (folder / "config.json").read_text()
