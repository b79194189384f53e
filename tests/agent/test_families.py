"""Real classes of vision-language models, tiny and random: played, scored, adapted, trained and loaded again."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gtr_agent.actor_critic import ActorCritic, check_plain_logits, make_value_head
from gtr_agent.batches import AnswerBatch, split_prompts, stack_answers, stack_prompts
from gtr_agent.checkpoint import checkpoint_folder, save_checkpoint
from gtr_agent.config import load_settings
from gtr_agent.experience import prepare
from gtr_agent.generation import generate
from gtr_agent.layout import PromptBatch, encode_prompts, end_token
from gtr_agent.lora import add_lora, lora_targets
from gtr_agent.model import load_model, load_processor
from gtr_agent.parallel import Workers
from gtr_agent.policy import load_policy
from gtr_agent.ppo import Update
from gtr_agent.progress import Clock
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.settings import Settings
from gtr_agent.start import make_optimizer
from gtr_envs.errors import CheckpointError
from gtr_envs.tasks import task_for
from tests.agent.families import FAMILIES, write_family

TASK = task_for("gtr/Points24-v0")
FORMULAS = [(), ("7",), ("7", "*", "6", "/", "2"), ("(", "10", "-", "4")]
SEES = ("visual", "vision_model", "vision_tower")
BRIDGES = ("visual", "connector", "multi_modal_projector")
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(family, tmp_path_factory.mktemp("families") / family)


@pytest.fixture(scope="module")
def own_processor(folder: Path) -> Any:
    return load_processor(folder)


@pytest.fixture
def own_settings(folder: Path) -> Settings:
    wishes = [
        "model.precision=float32",
        "model.train_folded=false",
        "model.lora_rank=4",
        "method=ppo",
        "rollout.num_envs=3",
        "rollout.turns=2",
        "rollout.max_new_tokens=6",
        "ppo.epochs=1",
        "ppo.batch_size=6",
        "ppo.micro_batch_size=4",
        "ppo.value_warmup_steps=2",
    ]
    return load_settings("tiny-points24", overrides=[*wishes, f"model.base={folder}"])


def make(
    folder: Path, settings: Settings, vision: bool = False, attention: Any = "eager", **wishes: Any
) -> ActorCritic:
    """An agent whose adapter is not zero."""
    model = load_model(folder, attention)
    width = model.config.get_text_config().hidden_size
    peft_model = add_lora(model, settings.model.model_copy(update={"lora_vision": vision}), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in peft_model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    wishes = {"cache_features": not vision, **wishes}
    head = make_value_head(width, (16,), seed=0)
    return ActorCritic(peft_model, head, temperature=0.7, precision="float32", **wishes).eval()


@pytest.fixture
def prompt(own_processor: Any) -> PromptBatch:
    """Prompts of different lengths with different pictures of different sizes."""
    rng = np.random.default_rng(0)
    sizes = [(300, 300), (300, 300), (150, 300), (220, 200)]
    frames = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    return encode_prompts(own_processor, [TASK.prompt({"formula": formula}) for formula in FORMULAS], frames)


@pytest.fixture
def answers() -> AnswerBatch:
    rng = np.random.default_rng(1)
    rows = [rng.integers(300, 600, length).tolist() for length in (3, 9, 5, 1)]
    return stack_answers(rows, [[False] * len(row) for row in rows], 0)


def update(actor: ActorCritic, settings: Settings, experience: Any, pad: int) -> dict[str, float]:
    optimizer = make_optimizer(actor, settings.ppo)
    return Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1))(experience)


def rolled_out(actor: ActorCritic, settings: Settings, processor: Any) -> Rollout:
    collector = Collector(settings, actor, processor, Workers(1))
    try:
        return collector.collect()
    finally:
        collector.close()


@pytest.mark.parametrize("vision", [False, True])
def test_one_update_is_on_policy_at_its_start_and_can_be_loaded_again(
    folder: Path, own_settings: Settings, own_processor: Any, vision: bool, tmp_path: Path
) -> None:
    actor = make(folder, own_settings, vision)
    rollout = rolled_out(actor, own_settings, own_processor)
    assert len(rollout.flat()) == 6
    assert all(len(transition.sample.tokens) > 0 for transition in rollout.flat())
    pad = own_processor.tokenizer.pad_token_id
    experience = prepare(actor, rollout, own_settings, pad, None, Workers(1), Clock(), first=True)
    assert experience.metrics["sampling_gap"] < 2e-5, "what was sampled is what is scored"
    before = {name: weight.detach().clone() for name, weight in actor.model.named_parameters() if weight.requires_grad}
    learned = update(actor, own_settings, experience, pad)
    assert learned["ratio_at_start"] < 1e-4
    after = dict(actor.model.named_parameters())
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == before.keys()
    assert any(part in name.split(".") for name in changed for part in SEES) == vision

    saved = checkpoint_folder(tmp_path / "run", 1)
    save_checkpoint(saved, actor, own_settings, 1, {})
    policy = load_policy(saved, temperature=actor.temperature)
    turn = rollout.flat()[0]
    batch, answer = (
        stack_prompts([turn.prompt], pad),
        stack_answers([turn.sample.tokens], [turn.sample.action_mask], pad),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            policy.actor.score(batch, answer).log_probs, actor.score(batch, answer).log_probs, **CLOSE
        )


def test_padding_and_batch_change_no_log_prob(
    folder: Path, own_settings: Settings, own_processor: Any, prompt: PromptBatch, answers: AnswerBatch
) -> None:
    actor, pad = make(folder, own_settings), own_processor.tokenizer.pad_token_id
    rows = split_prompts(prompt)
    wider = {name: nn.functional.pad(t, (5, 0)) for name, t in prompt.inputs.items() if t.shape == (4, prompt.width)}
    padded = AnswerBatch(*(nn.functional.pad(t, (0, 7)) for t in (answers.tokens, answers.mask, answers.action_mask)))
    with torch.no_grad():
        together = actor.score(prompt, answers, with_entropy=True)
        spread = actor.score(PromptBatch({**prompt.inputs, **wider}), padded)
        torch.testing.assert_close(spread.log_probs[:, :9], together.log_probs, **CLOSE)
        torch.testing.assert_close(spread.states, together.states, **CLOSE)
        for some in ([3], [2, 0], [1, 2, 3]):
            piece = AnswerBatch(answers.tokens[some], answers.mask[some], answers.action_mask[some])
            alone = actor.score(stack_prompts([rows[index] for index in some], pad), piece, with_entropy=True)
            for mine, whole in (
                (alone.log_probs, together.log_probs),
                (alone.entropy, together.entropy),
                (alone.states, together.states),
            ):
                torch.testing.assert_close(mine, whole[some], **CLOSE)


def test_turns_that_were_laid_out_apart_can_be_scored_together(
    folder: Path, own_settings: Settings, own_processor: Any, answers: AnswerBatch
) -> None:
    """Pictures of different shapes have different numbers of crops."""
    actor, pad = make(folder, own_settings), own_processor.tokenizer.pad_token_id
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((300, 300), (150, 300), (300, 150))]
    texts = ["Play.", "Play on, and on.", "Go"]
    apart = [
        split_prompts(encode_prompts(own_processor, [text], [frame]))[0]
        for text, frame in zip(texts, frames, strict=True)
    ]
    some = AnswerBatch(answers.tokens[:3], answers.mask[:3], answers.action_mask[:3])
    with torch.no_grad():
        together = actor.score(stack_prompts(apart, pad), some).log_probs
        expected = actor.score(encode_prompts(own_processor, texts, frames), some).log_probs
    torch.testing.assert_close(together, expected, **CLOSE)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_generation_and_scoring_agree_when_answers_end_at_different_times(
    folder: Path, own_settings: Settings, own_processor: Any, prompt: PromptBatch, attention: str
) -> None:
    actor = make(folder, own_settings, attention=attention)
    uniforms = torch.rand(4, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = generate(actor, prompt, uniforms, 20, end_token(own_processor))
    end = rows[0][0][2]  # were this token the end, some answers would stop early and the batch shrink
    rows = generate(actor, prompt, uniforms, 20, end)
    assert len(rows[0][0]) <= 3
    given = stack_answers([tokens for tokens, _ in rows], [[False] * len(tokens) for tokens, _ in rows], 0)
    with torch.no_grad():
        scores = actor.score(prompt, given)
    for row, (tokens, log_probs) in enumerate(rows):
        torch.testing.assert_close(scores.log_probs[row, : len(tokens)], torch.tensor(log_probs), **CLOSE)


def test_as_on_a_gpu_in_bfloat16_with_checkpointed_layers_and_logits_in_chunks(
    folder: Path, own_settings: Settings, own_processor: Any
) -> None:
    actor = make(folder, own_settings, attention="sdpa", gradient_checkpointing=True, logit_chunk=5)
    actor.precision = "bfloat16"
    for weight in actor.model.parameters():
        if not weight.requires_grad:  # the base in bfloat16, adapter and value head in float32
            weight.data = weight.data.bfloat16()
    seen: list[bool] = []
    bridge = next(m for name in BRIDGES if (m := getattr(actor.causal.base_model, name, None)) is not None)
    bridge.register_forward_hook(lambda _, __, output: seen.append(has_graph(output)))
    actor.cache_features = False
    rollout = rolled_out(actor, own_settings, own_processor)
    pad = own_processor.tokenizer.pad_token_id
    experience = prepare(actor, rollout, own_settings, pad, None, Workers(1), Clock(), first=True)
    assert experience.metrics["sampling_gap"] < 0.05
    learned = update(actor, own_settings, experience, pad)
    assert learned["ratio_at_start"] < 0.1
    assert seen
    assert not any(seen), "a frozen vision tower keeps nothing for gradients"


def has_graph(output: Any) -> bool:
    """Whether gradients would flow into this output of a module."""
    tensors = [output] if isinstance(output, torch.Tensor) else [t for t in output.values() if t is not None]
    return any(isinstance(tensor, torch.Tensor) and tensor.requires_grad for tensor in tensors)


def test_a_picture_is_looked_at_once_a_pass_and_never_where_its_features_are_kept(
    folder: Path, own_settings: Settings, own_processor: Any, prompt: PromptBatch, answers: AnswerBatch
) -> None:
    actor, pad = make(folder, own_settings), own_processor.tokenizer.pad_token_id
    calls: list[int] = []
    tower = next(getattr(actor.causal.base_model, name) for name in SEES if hasattr(actor.causal.base_model, name))
    tower.register_forward_hook(lambda *_: calls.append(1))
    features = actor.picture_features(prompt)
    assert features is not None
    assert len(calls) == 1
    kept = stack_prompts(split_prompts(prompt, features), pad)
    assert not {"pixel_values", "pixel_attention_mask"} & kept.inputs.keys()
    scores = actor.score(prompt, answers)
    assert len(calls) == 2
    scores.log_probs.sum().backward()
    assert len(calls) == 2
    uniforms = torch.rand(4, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = generate(actor, prompt, uniforms, 8, -1)
    assert len(calls) == 3, "the prompt's pass, and no token's"
    again = generate(actor, kept, uniforms, 8, -1)
    assert [tokens for tokens, _ in again] == [tokens for tokens, _ in seen]
    torch.testing.assert_close(actor.score(kept, answers).log_probs, scores.log_probs, **CLOSE)
    assert len(calls) == 3


def test_an_adapter_changes_the_language_model_and_by_option_all_that_sees(
    folder: Path, own_settings: Settings, prompt: PromptBatch, answers: AnswerBatch
) -> None:
    model = load_model(folder)
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)} - {"lm_head"}
    seeing = {name for name in linear if set(name.split(".")) & {*SEES, *BRIDGES}}
    assert set(lora_targets(model, vision=False)) == linear - seeing
    assert set(lora_targets(model, vision=True)) == linear
    assert any(set(name.split(".")) & set(BRIDGES) for name in seeing)

    actor = make(folder, own_settings, vision=True, gradient_checkpointing=True).train()
    plain = make(folder, own_settings, vision=True).train()
    for agent in (actor, plain):
        agent.score(prompt, answers).log_probs.sum().backward()
    gradients = {name: weight.grad for name, weight in plain.model.named_parameters() if weight.requires_grad}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())
    for name, weight in actor.model.named_parameters():
        if weight.requires_grad:  # what is computed again in the backward pass is the same
            torch.testing.assert_close(weight.grad, gradients[name], atol=1e-4, rtol=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="stock processors can be had here")
def test_a_stock_processor_s_folder_is_read_without_torchvision(
    family: str, folder: Path, own_processor: Any, tmp_path: Path
) -> None:
    """Folders made elsewhere name the stock class, which wants torchvision for its video part."""
    own_processor.save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    for file in ("processor_config.json", "tokenizer_config.json"):
        path = tmp_path / file
        content = json.loads(path.read_text("utf-8"))
        if "processor_class" in content:
            path.write_text(json.dumps({**content, "processor_class": f"{family}Processor"}), "utf-8")
    read = load_processor(tmp_path)
    assert type(read) is type(own_processor)
    frame = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    mine, theirs = (encode_prompts(one, ["Hello"], [frame]).inputs for one in (own_processor, read))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_bent_logits_and_unknown_pictures_are_refused(folder: Path, prompt: PromptBatch) -> None:
    config = load_model(folder).config
    config.get_text_config().final_logit_softcapping = 30.0
    with pytest.raises(CheckpointError, match="final_logit_softcapping=30"):
        check_plain_logits(config)
    inputs = {name: tensor for name, tensor in prompt.inputs.items() if name != "image_grid_thw"}
    inputs["pixel_values"] = prompt.inputs["pixel_values"].flatten(0, -2)[:7]
    with pytest.raises(CheckpointError, match="for 4 turns"):
        split_prompts(PromptBatch(inputs))
