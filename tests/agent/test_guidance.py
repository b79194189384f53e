"""The teacher's KL: estimators and directions by hand, tokens and places, the exact one over the vocabulary."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.config import load_settings
from gtr_agent.experience import prepare
from gtr_agent.guidance import Guide, checkpoint_guide, guided_mask, kl_tokens, merged_guide
from gtr_agent.losses import kl_per_token, masked_mean
from gtr_agent.parallel import Workers
from gtr_agent.ppo import Update, ppo_loss
from gtr_agent.progress import Clock
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.scoring import lay_out, score_turns
from gtr_agent.settings import Settings
from gtr_agent.start import make_optimizer
from gtr_agent.tiny import init_tiny
from gtr_envs.errors import CheckpointError
from tests.agent.test_ppo import changed


def full_kl(agent: torch.Tensor, teacher: torch.Tensor, direction: str = "reverse") -> torch.Tensor:
    """The exact KL of log-probabilities (..., vocabulary), plainly."""
    first, second = (agent, teacher) if direction == "reverse" else (teacher, agent)
    return torch.where(first.isneginf(), 0.0, first.exp() * (first - second)).sum(dim=-1)


def test_estimators_by_hand() -> None:
    agent, teacher = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    reverse = {"k1": math.log(2), "clip": math.log(2), "abs": math.log(2), "k3": 0.5 - 1 + math.log(2)}
    forward = {
        "k1": -0.5 * math.log(2),
        "clip": 0.0,
        "abs": 0.5 * math.log(2),
        "k3": 1 - 0.5 - 0.5 * math.log(2),
    }
    for name in reverse:
        assert kl_per_token(agent, teacher, name).item() == pytest.approx(reverse[name])  # type: ignore[arg-type]
        assert kl_per_token(agent, teacher, name, "forward").item() == pytest.approx(forward[name])  # type: ignore[arg-type]


def test_the_exact_kl_by_hand() -> None:
    agent = torch.tensor([0.5, 0.5, 0.0]).log()
    teacher = torch.tensor([0.25, 0.75, 0.0]).log()
    assert full_kl(agent, teacher).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert full_kl(agent, teacher, "forward").item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))
    assert full_kl(agent, agent).item() == 0


@given(seed=st.integers(0, 10_000), direction=st.sampled_from(["reverse", "forward"]))
def test_sampled_estimators_are_right_on_average(seed: int, direction: Any) -> None:
    generator = torch.Generator().manual_seed(seed)
    agent, teacher = torch.randn(2, 6, generator=generator).log_softmax(-1)
    for estimator in ("k1", "k3"):
        estimates = kl_per_token(agent, teacher, estimator, direction)  # type: ignore[arg-type]
        expected = (agent.exp() * estimates).sum()
        assert expected.item() == pytest.approx(full_kl(agent, teacher, direction).item(), abs=1e-5)
    assert (kl_per_token(agent, teacher, "k3", direction) >= -1e-6).all()


def kl_of(actor: ActorCritic, guide: Guide, rollout: Rollout, settings: Settings, processor: Any) -> torch.Tensor:
    pad, turns = processor.tokenizer.pad_token_id, rollout.flat()
    scores = score_turns(actor, turns, pad, settings.ppo, Workers(1))
    return kl_tokens(actor, guide, turns, scores.log_probs, settings, pad, Workers(1))


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_the_exact_kl_of_a_rollout_is_what_its_logits_say(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, direction: str
) -> None:
    settings = changed(settings, guidance={"estimator": "full", "direction": direction})
    guide = merged_guide(actor, settings)
    found = kl_of(actor, guide, rollout, settings, processor)
    transition = rollout.flat()[-1]
    prompt, answers = lay_out([transition], processor.tokenizer.pad_token_id)

    def distribution() -> torch.Tensor:
        inputs = {**prompt.inputs, "input_ids": torch.cat([prompt.inputs["input_ids"], answers.tokens], dim=1)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        types = torch.zeros_like(inputs["input_ids"])
        types[:, : prompt.width] = inputs["mm_token_type_ids"]
        with torch.no_grad():
            hidden = actor.hidden_states(inputs | {"mm_token_type_ids": types})
            logits = actor.causal.get_output_embeddings()(hidden[0, prompt.width - 1 : -1])
        return torch.log_softmax(actor.writable(logits) / actor.temperature, dim=-1)

    agent = distribution()
    with guide.active():
        teacher = distribution()
    expected = full_kl(agent, teacher, direction)
    assert expected.max() > 1e-4, "the stirred agent differs from its teacher"
    torch.testing.assert_close(found[-1, : len(expected)], expected, atol=1e-4, rtol=1e-3)


def test_the_teacher_of_the_teacher_s_own_tokens_is_at_no_distance(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    guide = merged_guide(actor, changed(settings, merge={"density": 1.0}))
    assert guide.merged is not None
    guide.merged.merge()  # now the teacher is the agent
    assert kl_of(actor, guide, rollout, settings, processor).abs().max() < 1e-4


def test_in_the_advantage_the_kl_is_subtracted_after_the_estimate(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    settings = changed(settings, guidance={"place": "advantage", "estimator": "k1"})
    pad, guide = processor.tokenizer.pad_token_id, merged_guide(actor, settings)
    free = prepare(actor, rollout, changed(settings, method="ppo"), pad, None, Workers(1), Clock())
    guided = prepare(actor, rollout, settings, pad, guide, Workers(1), Clock())
    kl = kl_of(actor, guide, rollout, settings, processor)
    _, answers = lay_out(rollout.flat(), pad)
    expected = free.advantages - settings.guidance.beta * masked_mean(kl, answers.thought_mask, dim=-1)
    torch.testing.assert_close(guided.advantages, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(guided.returns, free.returns)


def test_the_scope_says_which_tokens_are_guided(rollout: Rollout, settings: Settings, processor: Any) -> None:
    _, answers = lay_out(rollout.flat(), processor.tokenizer.pad_token_id)
    assert torch.equal(guided_mask(answers, settings.guidance), answers.thought_mask)
    everything = changed(settings, guidance={"scope": "all"})
    assert torch.equal(guided_mask(answers, everything.guidance), answers.mask)


def distilling(settings: Settings, teacher: Path) -> Settings:
    return changed(settings, method="opd", guidance={"teacher": str(teacher), "beta": 1.0})


def test_distillation_is_the_negative_kl_of_each_token_and_knows_no_reward(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, tmp_path: Path
) -> None:
    settings = distilling(settings, init_tiny(tmp_path / "teacher", seed=5))
    actor.cache_features = False
    collector = Collector(settings, actor, processor, Workers(1))
    rollout = collector.collect()
    collector.close()
    pad, guide = processor.tokenizer.pad_token_id, checkpoint_guide(settings, processor)
    experience = prepare(actor, rollout, settings, pad, guide, Workers(1), Clock(), first=True)
    agent = score_turns(actor, rollout.flat(), pad, settings.ppo, Workers(1)).log_probs
    teacher = score_turns(guide.actor, rollout.flat(), pad, settings.ppo, Workers(1)).log_probs
    torch.testing.assert_close(experience.advantages, teacher - agent, atol=1e-4, rtol=1e-4)
    indices = range(len(rollout.flat()))
    _, report = ppo_loss(actor, experience, experience.advantages, indices, settings.ppo, pad, None)
    _, answers = lay_out(rollout.flat(), pad)
    assert report.metrics["policy_loss"][0] == pytest.approx(
        masked_mean(agent - teacher, answers.mask).item(), rel=1e-3
    )
    assert report.metrics["loss"][0] == pytest.approx(report.metrics["policy_loss"][0]), "values play no part"


def test_distillation_brings_the_agent_closer_to_its_teacher(
    actor: ActorCritic, settings: Settings, processor: Any, tmp_path: Path
) -> None:
    settings = distilling(settings, init_tiny(tmp_path / "teacher", seed=5))
    ppo = {"epochs": 2, "learning_rate": 1e-2, "batch_size": 12, "micro_batch_size": 12}
    settings = changed(settings, method="opd", ppo=ppo, rollout={"num_envs": 8})
    actor.cache_features = False
    pad, guide = processor.tokenizer.pad_token_id, checkpoint_guide(settings, processor)
    collector = Collector(settings, actor, processor, Workers(1))
    optimizer = make_optimizer(actor, settings.ppo)
    update = Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1))
    distances = []
    for _ in range(6):
        rollout = collector.collect()
        experience = prepare(actor, rollout, settings, pad, guide, Workers(1), Clock())
        distances.append(kl_full(actor, guide, rollout, settings, processor))
        update(experience)
    collector.close()
    assert distances[-1] < 0.8 * distances[0]


def kl_full(actor: ActorCritic, guide: Guide, rollout: Rollout, settings: Settings, processor: Any) -> float:
    exact = changed(settings, method="opd", guidance={"estimator": "full"})
    found = kl_of(actor, guide, rollout, exact, processor)
    _, answers = lay_out(rollout.flat(), processor.tokenizer.pad_token_id)
    return float(masked_mean(found, answers.mask))


def test_a_teacher_with_another_vocabulary_is_refused(settings: Settings, processor: Any, tmp_path: Path) -> None:
    other = init_tiny(tmp_path / "teacher", seed=0, env_id="gtr/ALFWorld-v0")
    with pytest.raises(CheckpointError, match="another vocabulary"):
        checkpoint_guide(distilling(settings, other), processor)
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        checkpoint_guide(distilling(settings, tmp_path / "nowhere"), processor)


def test_distillation_without_a_teacher_is_named() -> None:
    from gtr_envs.errors import SettingError

    with pytest.raises(SettingError, match=r"guidance\.teacher"):
        load_settings("tiny-points24", overrides=["method=opd"])


def test_a_given_teacher_reads_out_as_the_settings_say(settings: Settings, processor: Any, tmp_path: Path) -> None:
    own = changed(distilling(settings, init_tiny(tmp_path / "teacher", seed=5)), "opd", model={"logit_chunk": 7})
    assert checkpoint_guide(own, processor).actor.logit_chunk == 7


def test_a_teacher_may_be_named_as_on_the_hub(
    settings: Settings, processor: Any, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    for kind in (AutoModelForImageTextToText, AutoProcessor):
        there = kind.from_pretrained
        monkeypatch.setattr(
            kind,
            "from_pretrained",
            lambda name, *more, there=there, **most: there(
                str(tiny_folder) if name == "someone/teacher" else name, *more, **most
            ),
        )
    guide = checkpoint_guide(distilling(settings, Path("someone/teacher")), processor)
    assert guide.actor.causal.config.model_type == "qwen2_5_vl"
    assert guide.actor.precision == settings.model.precision


def test_a_hub_that_cannot_be_reached_is_named(
    settings: Settings, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"guidance\.teacher='someone/nothing'.*hf download NAME"):
        checkpoint_guide(distilling(settings, Path("someone/nothing")), processor)
