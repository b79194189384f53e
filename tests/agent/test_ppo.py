"""One update: on policy every ratio is 1, the KL lowers the reward, cut-off episodes have a future."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.config import validate_settings
from gtr_agent.diverged import DivergedError
from gtr_agent.experience import Experience, prepare
from gtr_agent.guidance import Guide, merged_guide
from gtr_agent.parallel import Workers, add_gradients, pieces, share, threads_for
from gtr_agent.ppo import Sizes, Update, ppo_loss
from gtr_agent.progress import Clock
from gtr_agent.ranks import Ranks
from gtr_agent.rollout import Rollout
from gtr_agent.scoring import lay_out, score_turns
from gtr_agent.settings import Settings
from gtr_agent.start import make_optimizer, set_learning_rate


def changed(settings: Settings, method: str = "gtr-turbo-kl", **sections: dict[str, Any]) -> Settings:
    content = settings.model_dump() | {"method": method}
    for section, values in sections.items():
        content[section] |= values
    return validate_settings(content)


def update(actor: ActorCritic, experience: Experience, settings: Settings, pad: int, **more: Any) -> dict[str, float]:
    optimizer = make_optimizer(actor, settings.ppo)
    return Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1), **more)(experience)


def experience_of(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, guide: Guide | None = None
) -> Experience:
    return prepare(actor, rollout, settings, processor.tokenizer.pad_token_id, guide, Workers(1), Clock())


def test_a_rollout_has_every_environment_at_every_time(rollout: Rollout, settings: Settings) -> None:
    assert len(rollout.transitions) == settings.rollout.turns
    assert all(len(row) == settings.rollout.num_envs for row in rollout.transitions)
    for row, following in pairwise(rollout.transitions):
        for before, after in zip(row, following, strict=True):
            ended = before.terminated or before.truncated
            assert after.turn.index == (0 if ended else before.turn.index + 1)
    assert all((t.next_prompt is None) == t.terminated for t in rollout.transitions[-1])


@pytest.mark.parametrize("ratio", ["turn", "token"])
def test_on_policy_every_ratio_is_one(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, ratio: str
) -> None:
    settings = changed(settings, ppo={"ratio": ratio})
    experience = experience_of(actor, rollout, settings, processor)
    everyone = range(len(experience.transitions))
    pad = processor.tokenizer.pad_token_id
    _, report = ppo_loss(actor, experience, experience.advantages, everyone, settings.ppo, pad)
    assert report.ratio_gap < 1e-4
    assert report.metrics["clip_fraction"][0] == 0
    assert experience.metrics["sampling_gap"] < 1e-4, "what was sampled is what is scored"


def test_the_teacher_s_kl_is_taken_from_the_reward(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    teacher = merged_guide(actor, settings)  # the base, which differs from the stirred agent
    free = experience_of(actor, rollout, changed(settings, ppo={"gamma": 0.0}), processor)
    guided = experience_of(actor, rollout, changed(settings, ppo={"gamma": 0.0}), processor, teacher)
    assert guided.metrics["teacher_kl"] > 0
    # With gamma 0 and values 0 the advantage is the reward, so that the difference is beta times the KL.
    lost = (free.advantages - guided.advantages).mean().item()
    assert lost == pytest.approx(settings.guidance.beta * guided.metrics["teacher_kl"], rel=1e-4)
    assert (free.advantages >= guided.advantages).all()


def test_a_method_without_a_teacher_has_no_kl(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    assert "teacher_kl" not in experience_of(actor, rollout, settings, processor).metrics


def test_interrupted_episodes_bootstrap_and_ended_ones_do_not(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    assert actor.value_head is not None
    torch.nn.init.constant_(actor.value_head[-1].bias, 100.0)  # every state is worth 100
    experience = experience_of(actor, rollout, changed(settings, ppo={"gae_lambda": 0.0, "gamma": 0.5}), processor)
    rewards = torch.tensor([transition.reward for transition in experience.transitions])
    ended = torch.tensor([transition.terminated for transition in experience.transitions])
    expected = rewards + torch.where(ended, 0.0, 50.0) - 100
    torch.testing.assert_close(experience.advantages, expected)


def test_an_update_changes_adapter_and_value_head_and_nothing_else(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    before = {name: weight.detach().clone() for name, weight in actor.named_parameters()}
    experience = experience_of(actor, rollout, settings, processor)
    pad = processor.tokenizer.pad_token_id
    found = update(actor, experience, settings, pad)
    moved = {name for name, weight in actor.named_parameters() if not torch.equal(weight, before[name])}
    assert moved
    assert all("lora_" in name or name.startswith("value_head") for name in moved)
    assert any("lora_A" in name for name in moved)
    assert any(name.startswith("value_head") for name in moved)
    assert found["ratio_at_start"] < 1e-4
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("ratio", ["turn", "token"])
def test_micro_batches_and_workers_change_no_gradient(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, ratio: str
) -> None:
    settings = changed(settings, ppo={"ratio": ratio})
    experience = experience_of(actor, rollout, settings, processor)
    weights = [weight for weight in actor.parameters() if weight.requires_grad]
    order = torch.arange(len(experience.transitions))
    pad = processor.tokenizer.pad_token_id
    sizes = Sizes(len(order), sum(len(transition.sample.tokens) for transition in experience.transitions))

    def gradients(size: int, count: int) -> list[torch.Tensor]:
        def loss_of(part: torch.Tensor) -> tuple[torch.Tensor, None]:
            part = part.tolist()
            return ppo_loss(actor, experience, experience.advantages, part, settings.ppo, pad, sizes)[0], None

        for weight in weights:
            weight.grad = None
        add_gradients(Workers(count), weights, loss_of, [order[piece] for piece in pieces(len(order), size)])
        return [weight.grad.clone() for weight in weights if weight.grad is not None]

    whole, split, threaded = gradients(12, 1), gradients(5, 1), gradients(5, 2)
    assert len(whole) == len(split) > 0
    for one, two, three in zip(whole, split, threaded, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-3)
        assert torch.equal(two, three), "the number of workers changes nothing at all"


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_its_batch(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, tmp_path: Path
) -> None:
    experience = experience_of(actor, rollout, settings, processor)
    experience.advantages[0] = float("nan")
    with pytest.raises(DivergedError, match=r"learning_rate.*diverged"):
        update(actor, experience, settings, processor.tokenizer.pad_token_id, out=tmp_path)
    folder = tmp_path / "diverged" / "rank-0"
    turns, batch = json.loads((folder / "turns.json").read_text()), load_file(folder / "batch.safetensors")
    assert len(turns) == len(batch["advantages"]) <= settings.ppo.micro_batch_size
    assert batch["advantages"].isnan().sum() >= 1
    place = int(batch["advantages"].isnan().nonzero()[0])
    text = processor.tokenizer.decode(batch[f"turn-{place}/tokens"])
    assert text.removesuffix("<|im_end|>") == turns[place]["text"]


def test_a_budget_of_tokens_changes_no_score(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    pad, turns = processor.tokenizer.pad_token_id, rollout.flat()
    whole = score_turns(actor, turns, pad, settings.ppo, Workers(1))
    budget = settings.ppo.model_copy(update={"micro_batch_tokens": 130})
    split = score_turns(actor, turns, pad, budget, Workers(1))
    torch.testing.assert_close(split.log_probs, whole.log_probs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(split.states, whole.states, atol=1e-4, rtol=1e-4)


def test_turns_laid_out_together_keep_their_tokens(rollout: Rollout, processor: Any) -> None:
    transitions = rollout.flat()
    _, answers = lay_out(transitions, processor.tokenizer.pad_token_id)
    for row, transition in enumerate(transitions):
        assert answers.tokens[row][answers.mask[row]].tolist() == list(transition.sample.tokens)
    assert not (answers.action_mask & ~answers.mask).any()
    assert torch.equal(answers.thought_mask | answers.action_mask, answers.mask)


def test_the_learning_rate_follows_a_cosine(actor: ActorCritic, settings: Settings) -> None:
    ppo = settings.ppo.model_copy(update={"updates": 4, "learning_rate": 1.0, "final_learning_rate": 0.0})
    optimizer = make_optimizer(actor, ppo)
    seen = []
    for done in range(4):
        set_learning_rate(optimizer, ppo, done)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([1.0, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5)])


@pytest.mark.parametrize(("count", "size"), [(0, 4), (1, 4), (4, 4), (5, 4), (13, 4)])
def test_pieces_cover_everything_once(count: int, size: int) -> None:
    found = [index for piece in pieces(count, size) for index in range(count)[piece]]
    assert found == list(range(count))
    assert all(len(range(count)[piece]) <= size for piece in pieces(count, size))
    assert len(share(count, 2)) <= 2


def test_a_loss_that_is_not_finite_elsewhere_stops_every_process(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, tmp_path: Path
) -> None:
    class OneOfTwo(Ranks):
        """Of the other process it is known that its loss is not finite."""

        def mean(self, value: float) -> float:
            return value if value else 0.5

    experience = experience_of(actor, rollout, settings, processor)
    pad = processor.tokenizer.pad_token_id
    with pytest.raises(DivergedError, match="another process"):
        update(actor, experience, settings, pad, ranks=OneOfTwo(), out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_process_whose_loss_is_not_finite_tells_the_others_first(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    told = []

    class Telling(Ranks):
        def mean(self, value: float) -> float:
            told.append(value)
            return value

    experience = experience_of(actor, rollout, settings, processor)
    experience.advantages[:] = float("nan")
    with pytest.raises(DivergedError, match="loss became nan"):
        update(actor, experience, settings, processor.tokenizer.pad_token_id, ranks=Telling())
    assert told[-1] == 1.0


def test_dropout_draws_from_one_generator_in_one_thread() -> None:
    assert threads_for(4, 0.0) == 4
    assert threads_for(4, 0.1) == threads_for(0, 0.1) == 1
