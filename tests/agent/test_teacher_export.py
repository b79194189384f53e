"""The saved teacher is a plain adapter, or a plain model, that scores as the teacher did."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.export_teacher import export_teacher
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.model import load_model
from gtr_agent.policy import load_policy
from gtr_agent.settings import MergeSettings, Settings
from gtr_agent.teacher import MergedTeacher
from gtr_agent.teacher_export import low_rank_factors, save_teacher
from gtr_agent.train import train
from gtr_envs.errors import CheckpointError, OutputExistsError, SettingError

ANSWERS = stack_answers([[400, 401, 402], [500, 501, 502]], [[False, False, True]] * 2, 0)


@pytest.fixture
def teacher(actor: ActorCritic, stir: Any) -> MergedTeacher:
    """The merge of three checkpoints: its changes have more than the adapter's rank."""
    teacher = MergedTeacher(actor.model, MergeSettings())
    for seed in range(3):
        stir(actor, seed)
        teacher.merge()
    return teacher


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    rng = np.random.default_rng(0)
    return encode_prompts(processor, ["what?"] * 2, [rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)] * 2)


def log_probs(model: Any, prompt: PromptBatch) -> torch.Tensor:
    actor = ActorCritic(model, None, temperature=1.0, precision="float32")
    with torch.no_grad():
        return actor.score(prompt, ANSWERS).log_probs


def taught(teacher: MergedTeacher, prompt: PromptBatch) -> torch.Tensor:
    with teacher.active():
        return log_probs(teacher.model, prompt)


def load_adapter(settings: Settings, folder: Path) -> Any:
    return PeftModel.from_pretrained(load_model(settings.model.base, "eager"), folder).eval()


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (9, 9)])
@pytest.mark.parametrize("rank", [1, 4, 9, 20])
def test_the_factors_are_the_truncated_decomposition(shape: tuple[int, int], rank: int) -> None:
    delta = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    factor_a, factor_b = low_rank_factors(delta, rank)
    assert factor_a.shape == (rank, shape[1])
    assert factor_b.shape == (shape[0], rank)
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    nearest = left[:, :rank] * values[:rank] @ right[:rank]
    torch.testing.assert_close(factor_b @ factor_a, nearest, atol=1e-5, rtol=1e-4)


def test_a_matrix_of_low_rank_or_of_zeros_is_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(20, 3, generator=generator) @ torch.randn(3, 40, generator=generator)
    factor_a, factor_b = low_rank_factors(delta, 8)
    torch.testing.assert_close(factor_b @ factor_a, delta, atol=1e-5, rtol=1e-5)
    factor_a, factor_b = low_rank_factors(torch.zeros(5, 6), 2)
    assert torch.equal(factor_b @ factor_a, torch.zeros(5, 6))


def test_as_an_adapter_of_full_rank_it_scores_as_the_teacher(
    teacher: MergedTeacher, settings: Settings, prompt: PromptBatch, tmp_path: Path
) -> None:
    full = max(min(weight.shape) for weight in teacher.weights.values())
    assert save_teacher(teacher, tmp_path / "teacher", "adapter", rank=full) < 1e-6
    loaded = load_adapter(settings, tmp_path / "teacher")
    torch.testing.assert_close(log_probs(loaded, prompt), taught(teacher, prompt), atol=2e-5, rtol=1e-4)


def test_the_more_rank_the_less_is_lost_as_reported(
    teacher: MergedTeacher, settings: Settings, prompt: PromptBatch, tmp_path: Path
) -> None:
    expected = taught(teacher, prompt)
    losses, gaps = [], []
    for rank in (None, 64, 100):
        folder = tmp_path / f"rank-{rank}"
        lost = save_teacher(teacher, folder, rank=rank)
        loaded = load_adapter(settings, folder)
        changes = {n: m.get_delta_weight("default") for n, m in loaded.named_modules() if n in teacher.layers}
        apart = sum(((changes[name] - teacher.delta(name)) ** 2).sum() for name in teacher.layers)
        whole = sum((teacher.delta(name) ** 2).sum() for name in teacher.layers)
        assert lost == pytest.approx(float(apart / whole) ** 0.5, rel=1e-4)
        losses.append(lost)
        gaps.append(float((log_probs(loaded, prompt) - expected).abs().max()))
    assert losses[0] > losses[1] > losses[2] > 0
    assert gaps[0] > gaps[2]


def test_it_has_the_names_and_the_rank_of_the_agents_own_adapter(
    teacher: MergedTeacher, settings: Settings, tmp_path: Path
) -> None:
    save_teacher(teacher, tmp_path / "teacher")
    teacher.model.save_pretrained(tmp_path / "agent")
    names = []
    for who in ("teacher", "agent"):
        with safe_open(tmp_path / who / "adapter_model.safetensors", "pt") as file:
            names.append({name: file.get_slice(name).get_shape() for name in file.keys()})  # noqa: SIM118
    assert names[0] == names[1]
    config = load_adapter(settings, tmp_path / "teacher").peft_config["default"]
    assert (config.r, config.lora_alpha) == (settings.model.lora_rank, settings.model.lora_rank)
    assert config.base_model_name_or_path == settings.model.base
    assert teacher.model.peft_config["default"].lora_alpha == settings.model.lora_alpha, "the agent's own is untouched"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_full_weights_it_is_a_plain_model(
    teacher: MergedTeacher, settings: Settings, prompt: PromptBatch, tmp_path: Path, dtype: torch.dtype
) -> None:
    expected = taught(teacher, prompt)
    for layer in teacher.layers.values():
        layer.get_base_layer().weight.data = layer.get_base_layer().weight.data.to(dtype)
    before = {name: weight.clone() for name, weight in teacher.model.named_parameters()}
    assert save_teacher(teacher, tmp_path / "model", "weights") == 0
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.model.named_parameters())
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as file:
        names = set(file.keys())
        kept = {file.get_tensor(name).dtype for name in names if name.endswith("q_proj.weight")}
    assert kept == {dtype}
    with safe_open(Path(settings.model.base) / "model.safetensors", "pt") as file:
        assert names == set(file.keys())
    if dtype == torch.float32:
        loaded = load_model(tmp_path / "model", "eager")
        assert torch.equal(log_probs(loaded, prompt), expected)


def test_before_the_first_merge_it_is_the_base(
    actor: ActorCritic, settings: Settings, prompt: PromptBatch, tmp_path: Path
) -> None:
    assert save_teacher(MergedTeacher(actor.model, MergeSettings()), tmp_path / "teacher") == 0
    loaded = log_probs(load_adapter(settings, tmp_path / "teacher"), prompt)
    torch.testing.assert_close(loaded, log_probs(load_model(settings.model.base, "eager"), prompt))


def test_it_appears_whole_or_not_at_all(teacher: MergedTeacher, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        assert (folder / "adapter_model.safetensors").is_file()
        raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        save_teacher(teacher, tmp_path / "teacher", add_files=fail)
    assert not list(tmp_path.iterdir())
    save_teacher(teacher, tmp_path / "teacher", add_files=lambda folder: (folder / "README.md").touch() or None)
    assert (tmp_path / "teacher" / "README.md").is_file()
    with pytest.raises(OutputExistsError):
        save_teacher(teacher, tmp_path / "teacher")


def test_bad_wishes_are_errors(teacher: MergedTeacher, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="not as 'gguf'"):
        save_teacher(teacher, tmp_path / "teacher", "gguf")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="rank=0"):
        save_teacher(teacher, tmp_path / "teacher", rank=0)
    with pytest.raises(SettingError, match="full weights have none"):
        save_teacher(teacher, tmp_path / "teacher", "weights", rank=4)


def test_a_run_s_teacher_is_saved_and_plays(settings: Settings, tmp_path: Path, prompt: PromptBatch) -> None:
    run = tmp_path / "run"
    train(settings.model_copy(update={"keep_checkpoints": 1}), run)
    assert export_teacher(run, tmp_path / "adapter", rank=600) < 1e-5, "no layer has a higher rank"
    assert export_teacher(run / "checkpoints" / "update-000002", tmp_path / "weights", "weights") == 0
    policies = [load_policy(tmp_path / name) for name in ("adapter", "weights")]
    assert [policy.meta["update"] for policy in policies] == [2, 2]
    assert "library_name: transformers" in (tmp_path / "weights" / "README.md").read_text()
    with torch.no_grad():
        found = [policy.actor.score(prompt, ANSWERS).log_probs for policy in policies]
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)
    base = log_probs(load_model(settings.model.base, "eager"), prompt)
    assert not torch.allclose(found[1] * settings.rollout.temperature, base, atol=1e-6)


def test_what_has_no_merged_teacher_is_named(settings: Settings, tiny_folder: Path, tmp_path: Path) -> None:
    one = settings.ppo.model_copy(update={"updates": 1})
    train(settings.model_copy(update={"method": "ppo", "ppo": one}), tmp_path / "run")
    with pytest.raises(SettingError, match="trained by ppo, which merges no teacher; gtr-turbo-sft or gtr-turbo-kl"):
        export_teacher(tmp_path / "run", tmp_path / "teacher")
    with pytest.raises(CheckpointError, match="no checkpoint of a run"):
        export_teacher(tiny_folder, tmp_path / "teacher")
    assert not (tmp_path / "teacher").exists()
