"""The teacher is the merge of the run's checkpoints, changes at each merge, and sees the picture."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load, save

from gtr_agent import teacher as teacher_module
from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.folding import folded, folded_weights, lora_layers, task_vectors
from gtr_agent.layout import PromptBatch, encode_prompts
from gtr_agent.settings import MergeSettings
from gtr_agent.teacher import LEAST_WEIGHT, MergedTeacher, most_kept, place_of_adapters
from gtr_agent.ties import ema_weights, lora_delta, ties_merge, trim
from gtr_envs.errors import CheckpointError, SettingError


@pytest.fixture
def prompt(processor: Any) -> PromptBatch:
    rng = np.random.default_rng(0)
    return encode_prompts(processor, ["what?"] * 2, [rng.integers(0, 255, (300, 300, 3), dtype=np.uint8)] * 2)


ANSWERS = stack_answers([[400, 401, 402], [500, 501, 502]], [[False, False, True]] * 2, 0)


def log_probs(actor: ActorCritic, prompt: PromptBatch) -> torch.Tensor:
    with torch.no_grad():
        return actor.score(prompt, ANSWERS).log_probs


def test_before_the_first_merge_the_teacher_is_the_base(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    base = log_probs(actor, prompt)
    stir(actor, 1)
    teacher = MergedTeacher(actor.model, MergeSettings())
    with teacher.active():
        assert torch.equal(log_probs(actor, prompt), base)
    assert not torch.allclose(log_probs(actor, prompt), base)


def test_after_one_merge_without_trimming_the_teacher_is_the_checkpoint(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 1)
    teacher = MergedTeacher(actor.model, MergeSettings(density=1.0))
    report = teacher.merge()
    assert report.distance == 0
    with teacher.active():
        merged = log_probs(actor, prompt)
    torch.testing.assert_close(merged, log_probs(actor, prompt), atol=2e-5, rtol=1e-4)


def test_the_teacher_changes_at_every_merge(actor: ActorCritic, prompt: PromptBatch, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    seen = []
    for seed in range(4):
        stir(actor, seed)
        report = teacher.merge()
        assert report.change > 0
        with teacher.active():
            seen.append(log_probs(actor, prompt))
    assert all(not torch.allclose(before, after) for before, after in pairwise(seen))


@pytest.mark.parametrize("weights", ["ema", "sma"])
def test_the_merge_is_that_of_all_checkpoints_on_weight_changes(actor: ActorCritic, stir: Any, weights: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(weights=weights, ema_alpha=0.5, density=0.8))
    checkpoints = []
    for seed in range(5):
        stir(actor, seed)
        checkpoints.append(task_vectors(actor.model))
        teacher.merge()
    scale = ema_weights(5, 0.5) if weights == "ema" else [1.0] * 5
    for name in teacher.layers:
        delta = teacher.delta(name)
        expected = ties_merge([checkpoint[name] for checkpoint in checkpoints], scale, 0.8)
        torch.testing.assert_close(delta, expected, atol=1e-6, rtol=1e-6)
        base = lora_layers(actor.model)[name].get_base_layer().weight
        torch.testing.assert_close(teacher.weights[name], base + delta)


def test_a_task_vector_is_the_weight_change_that_peft_folds_in(actor: ActorCritic, stir: Any) -> None:
    stir(actor, 3)
    for name, layer in lora_layers(actor.model).items():
        torch.testing.assert_close(task_vectors(actor.model)[name], layer.get_delta_weight("default"))


def test_folding_changes_the_arithmetic_and_not_the_function(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 4)
    plain = log_probs(actor, prompt)
    before = {name: weight.clone() for name, weight in actor.model.named_parameters()}
    with folded(actor.model, folded_weights(actor.model)):
        torch.testing.assert_close(log_probs(actor, prompt), plain, atol=2e-5, rtol=1e-4)
    assert torch.equal(log_probs(actor, prompt), plain), "all is as it was"
    assert all(torch.equal(weight, before[name]) for name, weight in actor.model.named_parameters())


def storages(tensors: Any) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}


def test_there_is_no_second_base_model(actor: ActorCritic, stir: Any) -> None:
    own = storages(actor.model.parameters())
    teacher = MergedTeacher(actor.model, MergeSettings())
    stir(actor, 1)
    teacher.merge()
    adapted = [layer.get_base_layer().weight for layer in lora_layers(actor.model).values()]
    assert len(teacher.weights) == len(adapted) == len(storages(teacher.weights.values()))
    assert not own & storages(teacher.weights.values())
    held = sum(weight.untyped_storage().nbytes() for weight in teacher.weights.values())
    assert held == sum(weight.nbytes for weight in adapted), "one weight a LoRA layer and nothing more"
    with teacher.active():
        within = storages(actor.model.parameters())
    assert within - own == storages(teacher.weights.values()), "all else is the agent's own"
    assert len(own - within) == len(adapted), "only the adapted layers' weights are exchanged"
    assert storages(actor.model.parameters()) == own


def test_a_merge_makes_no_second_set_of_weights(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    before = {name: weight.data_ptr() for name, weight in teacher.weights.items()}
    for seed in range(2):
        stir(actor, seed)
        teacher.merge()
    assert {name: weight.data_ptr() for name, weight in teacher.weights.items()} == before
    assert {name: len(values) for name, values in teacher.state().items()} == {"updates": 2, "weights": 2, "norms": 2}


@pytest.mark.parametrize("space", ["delta", "factors"])
@pytest.mark.parametrize("method", ["ties", "linear"])
def test_the_report_is_the_norm_of_change_and_distance(actor: ActorCritic, stir: Any, space: Any, method: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(space=space, method=method))
    before = {name: torch.zeros_like(weight) for name, weight in teacher.weights.items()}
    for seed in range(3):
        stir(actor, seed)
        agent = task_vectors(actor.model)
        report = teacher.merge()
        after = {name: teacher.delta(name) for name in teacher.layers}
        assert report.change == pytest.approx(norm_between(after, before), rel=1e-5)
        assert report.distance == pytest.approx(norm_between(after, agent), rel=1e-5, abs=1e-5)
        assert report.change > 0
        before = after


def norm_between(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> float:
    return float(torch.cat([(left[name] - right[name]).flatten() for name in left]).double().norm())


def test_in_the_space_of_factors_each_factor_is_merged_apart(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(space="factors", weights="sma", density=0.5))
    name, layer = next(iter(lora_layers(actor.model).items()))
    factors: list[tuple[torch.Tensor, torch.Tensor]] = []
    for seed in range(3):
        stir(actor, seed)
        factors.append(
            (layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
        )
        teacher.merge()
    a, b = (ties_merge(list(side), [1.0] * 3, 0.5) for side in zip(*factors, strict=True))
    expected = lora_delta(a, b, layer.scaling["default"])
    torch.testing.assert_close(teacher.delta(name), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(teacher.weights[name], layer.get_base_layer().weight + expected)
    in_delta = ties_merge([lora_delta(a, b, layer.scaling["default"]) for a, b in factors], [1.0] * 3, 0.5)
    assert not torch.allclose(expected, in_delta), "it is not the merge of the weight changes"


def test_the_linear_merge_is_the_weighted_mean(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(method="linear", weights="ema", ema_alpha=0.25))
    checkpoints = []
    for seed in range(3):
        stir(actor, seed)
        checkpoints.append(task_vectors(actor.model))
        teacher.merge()
    for name in teacher.layers:
        mean = sum(w * c[name] for w, c in zip([0.5625, 0.1875, 0.25], checkpoints, strict=True))
        torch.testing.assert_close(teacher.delta(name), mean, atol=1e-6, rtol=1e-5)


def adapter(actor: ActorCritic) -> dict[str, torch.Tensor]:
    """The adapter as its file in a checkpoint holds it."""
    return load(save(get_peft_model_state_dict(actor.model)))


@pytest.mark.parametrize(
    "choice",
    [{}, {"weights": "sma"}, {"space": "factors"}, {"method": "linear"}, {"keep_on": "cpu"}],
    ids=lambda choice: ",".join(choice.values()) or "default",
)
def test_a_loaded_teacher_is_the_saved_one_bit_for_bit(actor: ActorCritic, stir: Any, choice: dict[str, Any]) -> None:
    settings = MergeSettings(**choice)
    teacher, resumed = (MergedTeacher(actor.model, settings, "bfloat16") for _ in range(2))
    adapters = []
    for seed in range(5):
        stir(actor, seed)
        adapters.append(adapter(actor))
        report = teacher.merge(seed)
        if seed == 2:
            resumed.load_state(json.loads(json.dumps(teacher.state())), adapters.__getitem__)
        if seed > 2:
            assert resumed.merge(seed) == report
        if seed >= 2:
            for name, weight in teacher.weights.items():
                assert torch.equal(resumed.weights[name], weight)


def test_rows_at_a_time_give_the_same(actor: ActorCritic, stir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    for seed in range(3):
        stir(actor, seed)
        teacher.merge()
    whole = {name: teacher.delta(name) for name in teacher.layers}
    monkeypatch.setattr(teacher_module, "ENTRIES", 5000)
    for name, delta in whole.items():
        torch.testing.assert_close(teacher.delta(name), delta)


@pytest.mark.parametrize(("alpha", "kept", "bound"), [(0.5, 13, 0.03), (0.9, 4, 0.12), (1.0, 1, 0.0)])
def test_what_an_ema_leaves_out_is_as_little_as_said(
    actor: ActorCritic, stir: Any, alpha: float, kept: int, bound: float
) -> None:
    """Against the merge of all thirty checkpoints, each of which learned a little more, as in a run."""
    teacher = MergedTeacher(actor.model, MergeSettings(ema_alpha=alpha))
    name, *_ = teacher.layers
    checkpoints = []
    factor = teacher.layers[name].lora_B["default"].weight
    for seed in range(30):
        noise = torch.randn(factor.shape, generator=torch.Generator().manual_seed(seed))
        factor.data += 0.01 * noise
        checkpoints.append(task_vectors(actor.model)[name])
        teacher.merge(seed)
    assert teacher.updates == list(range(30 - kept, 30))
    assert kept <= most_kept(teacher.settings)
    weights = ema_weights(30, alpha)
    pairs = [(delta, weight) for delta, weight in zip(checkpoints, weights, strict=True) if weight > 0]
    everything = ties_merge([delta for delta, _ in pairs], [weight for _, weight in pairs], 0.8)
    merged = teacher.delta(name)
    scale = torch.stack(checkpoints).abs().amax(dim=0)
    by_newest = trim(checkpoints[-1], 0.8) != 0
    moved = (merged - everything).abs() > scale * 4 * LEAST_WEIGHT / alpha
    assert moved[by_newest].float().mean() < 1e-3, "but for signs that are elected by a hair"
    assert (merged - everything).norm() <= bound * everything.norm()


def test_a_long_run_keeps_few_adapters(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings(method="linear"))
    for update in range(1, 40):
        stir(actor, update)
        teacher.merge(update)
    assert teacher.updates == list(range(27, 40))
    assert sum(each.weight for each in teacher.checkpoints) > 1 - 2 * LEAST_WEIGHT


def test_a_teacher_that_never_merged_can_be_saved_too(actor: ActorCritic, stir: Any) -> None:
    new = MergedTeacher(actor.model, MergeSettings())
    stir(actor, 1)
    used = MergedTeacher(actor.model, MergeSettings())
    used.merge()
    used.load_state(json.loads(json.dumps(new.state())), lambda update: {})
    for name, layer in lora_layers(actor.model).items():
        assert torch.equal(used.weights[name], layer.get_base_layer().weight)


def test_a_state_that_does_not_fit_is_an_error_and_changes_nothing(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    stir(actor, 0)
    own = adapter(actor)
    teacher.merge(1)
    state = teacher.state()
    stir(actor, 1)
    teacher.merge(2)
    before = {name: weight.clone() for name, weight in teacher.weights.items()}
    first = next(iter(own))
    for wrong, read, message in (
        ({key: values for key, values in state.items() if key != "norms"}, own, "the saved teacher is damaged"),
        (state, {key: values for key, values in own.items() if key != first}, "after update 1 is of another model"),
        (state, own | {first: own[first] * 1.001}, "after update 1 is damaged"),
        ({"count": torch.tensor(1), "total_weight": torch.tensor(1.0)}, own, "that of an older gtr-bench"),
    ):
        with pytest.raises(CheckpointError, match=message):
            teacher.load_state(wrong, lambda update, read=read: read)
    assert teacher.updates == [1, 2]
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.weights.items())


def test_an_adapter_that_diverged_is_an_error_and_changes_nothing(actor: ActorCritic, stir: Any) -> None:
    teacher = MergedTeacher(actor.model, MergeSettings())
    stir(actor, 1)
    teacher.merge()
    before = teacher.state()
    weights = {name: values.clone() for name, values in teacher.weights.items()}
    *_, last = lora_layers(actor.model).values()
    last.lora_A["default"].weight.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite: training diverged"):
        teacher.merge()
    assert teacher.state() == before
    assert all(torch.equal(values, weights[name]) for name, values in teacher.weights.items())


def test_a_model_without_adapter_is_an_error(actor: ActorCritic) -> None:
    with pytest.raises(SettingError, match="needs a model with a LoRA adapter"):
        MergedTeacher(actor.model.get_base_model().get_input_embeddings(), MergeSettings())


def test_where_the_adapters_are_kept() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("meta")
    assert place_of_adapters("auto", cpu, 10**18) == cpu
    assert place_of_adapters("cpu", gpu, 0) == cpu
    assert place_of_adapters("model", gpu, 10**18) == gpu


def test_the_kl_uses_the_picture(actor: ActorCritic, processor: Any, stir: Any) -> None:
    stir(actor, 5)
    teacher = MergedTeacher(actor.model, MergeSettings())

    def kl(frame: np.ndarray) -> torch.Tensor:
        prompt = encode_prompts(processor, ["what?"] * 2, [frame, frame])
        agent = log_probs(actor, prompt)
        with teacher.active():
            guide = log_probs(actor, prompt)
        return (agent - guide)[ANSWERS.thought_mask]

    black, white = np.zeros((300, 300, 3), np.uint8), np.full((300, 300, 3), 255, np.uint8)
    assert torch.equal(kl(black), kl(black))
    assert not torch.allclose(kl(black), kl(white))


def test_rounding_the_folded_weights_beforehand_changes_nothing(
    actor: ActorCritic, prompt: PromptBatch, stir: Any
) -> None:
    stir(actor, 6)
    actor.precision = "bfloat16"
    with folded(actor.model, folded_weights(actor.model)):
        late = log_probs(actor, prompt)
    with folded(actor.model, folded_weights(actor.model, precision="bfloat16")):
        assert torch.equal(log_probs(actor, prompt), late)
