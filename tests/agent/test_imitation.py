"""Imitating a teacher's thoughts: what is learned, what is kept, and that it is learned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import AnswerBatch, stack_answers, stack_prompts
from gtr_agent.corrector import Counts, make_corrector
from gtr_agent.diverged import DivergedError
from gtr_agent.experience import prepare
from gtr_agent.guidance import merged_guide
from gtr_agent.imitation import Thought, Thoughts, chosen_turns, corrected_thoughts, imitation_loss, teacher_thoughts
from gtr_agent.parallel import Workers
from gtr_agent.ppo import Update
from gtr_agent.progress import Clock
from gtr_agent.rollout import Collector, Rollout
from gtr_agent.settings import CorrectorSettings, ImitationSettings, Settings
from gtr_agent.start import make_optimizer
from gtr_envs.errors import CheckpointError
from gtr_envs.experts import SolverPolicy
from gtr_envs.protocol import read_answer
from tests.agent.test_ppo import changed
from tests.fake_endpoint import Act, serve


class Solver:
    """Corrects every thought but the first into the solver's."""

    counts = Counts()

    def correct(self, requests: Any, answers: Any, rng: Any) -> list[str | None]:
        assert len(requests) == len(answers)
        texts: list[str | None] = [response.text for response in SolverPolicy().act(requests)]
        return [None, *texts[1:]]


@pytest.fixture
def rollout(settings: Settings, actor: ActorCritic, processor: Any, workers: Workers) -> Rollout:
    collector = Collector(settings, actor, processor, workers, keep_requests=True)
    try:
        return collector.collect()
    finally:
        collector.close()


def corrected(rollout: Rollout, processor: Any) -> list[Thought]:
    return corrected_thoughts(Solver(), processor, rollout.flat(), np.random.default_rng(0))[0]  # type: ignore[arg-type]


def test_corrected_thoughts_are_learned_without_the_action(rollout: Rollout, processor: Any) -> None:
    turns = rollout.flat()
    thoughts, metrics = corrected_thoughts(Solver(), processor, turns, np.random.default_rng(0))  # type: ignore[arg-type]
    assert (metrics["thoughts_asked"], metrics["thoughts_learned"]) == (len(turns), len(turns) - 1)
    for turn, thought in zip(turns[1:], thoughts, strict=True):
        assert torch.equal(thought.prompt.tokens["input_ids"], turn.prompt.tokens["input_ids"])
        learned = [token for token, is_action in zip(thought.tokens, thought.action_mask, strict=True) if not is_action]
        text = processor.tokenizer.decode(learned)
        assert '"thoughts": "' in text
        assert '"action"' not in text
        assert turn.request is not None
        whole = processor.tokenizer.decode(thought.tokens).removesuffix("<|im_end|>")
        assert read_answer(whole, turn.request.task.allowed({})).action is not None


def test_the_teacher_thinks_about_the_same_observations(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    guide = merged_guide(actor, settings)
    thoughts, metrics = teacher_thoughts(guide, processor, rollout.flat(), settings, np.random.default_rng(0))
    # The random tiny model writes no answer that could be read, and nothing is learned from what cannot be read.
    assert thoughts == []
    assert metrics == {"thoughts_asked": len(rollout.flat()), "thoughts_learned": 0}


def test_the_loss_is_the_mean_over_thought_tokens(actor: ActorCritic, rollout: Rollout, processor: Any) -> None:
    thoughts, pad = corrected(rollout, processor)[:3], processor.tokenizer.pad_token_id
    loss, count = imitation_loss(actor, thoughts, pad)
    stacked = stack_answers([t.tokens for t in thoughts], [t.action_mask for t in thoughts], pad)
    answers = AnswerBatch(stacked.tokens, stacked.mask, stacked.action_mask)
    log_probs = actor.score(stack_prompts([t.prompt for t in thoughts], pad), answers).log_probs
    picked = torch.cat([
        log_probs[row, : len(t.tokens)][~torch.tensor(t.action_mask)] for row, t in enumerate(thoughts)
    ])  # fmt: skip
    assert count == len(picked)
    assert loss.item() == pytest.approx(-picked.mean().item(), rel=1e-5)


def test_thoughts_are_learned_beside_ppo(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any
) -> None:
    settings = changed(settings, "gtr", ppo={"epochs": 6, "learning_rate": 5e-3, "max_grad_norm": 100.0})
    pad = processor.tokenizer.pad_token_id
    data = Thoughts(settings.imitation)
    data.add(corrected(rollout, processor))
    before = imitation_loss(actor, data.thoughts, pad)[0].item()
    experience = prepare(actor, rollout, settings, pad, None, Workers(1), Clock())
    optimizer = make_optimizer(actor, settings.ppo)
    update = Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1), thoughts=data)
    found = update(experience)
    assert imitation_loss(actor, data.thoughts, pad)[0].item() < 0.9 * before
    assert 0 < found["sft_loss"] < before


def some(count: int, rollout: Rollout) -> list[Thought]:
    return [Thought(rollout.flat()[0].prompt, (index,), (False,)) for index in range(count)]


def test_the_data_set_accumulates_or_forgets(rollout: Rollout) -> None:
    grows = Thoughts(ImitationSettings(capacity=5))
    grows.add(some(3, rollout))
    grows.add(some(4, rollout))
    assert [thought.tokens[0] for thought in grows.thoughts] == [1, 2, 0, 1, 2, 3][-5:]
    latest = Thoughts(ImitationSettings(dataset="latest"))
    latest.add(some(3, rollout))
    latest.add(some(2, rollout))
    assert [thought.tokens[0] for thought in latest.thoughts] == [0, 1]
    assert Thoughts(ImitationSettings()).draw(np.random.default_rng(0)) == []


def test_the_data_set_is_saved_and_taken_up(rollout: Rollout, processor: Any) -> None:
    data, other = Thoughts(ImitationSettings()), Thoughts(ImitationSettings())
    data.add(corrected(rollout, processor))
    state = data.state()
    other.load_state(state)
    assert len(other.thoughts) == len(data.thoughts) > 9
    for one, two in zip(data.thoughts, other.thoughts, strict=True):
        assert (one.tokens, one.action_mask) == (two.tokens, two.action_mask)
        assert all(torch.equal(one.prompt.tokens[name], two.prompt.tokens[name]) for name in one.prompt.tokens)
        assert all(torch.equal(one.prompt.picture[name], two.prompt.picture[name]) for name in one.prompt.picture)
    assert list(other.state()) == list(state), "it is written as before, in the same order"
    shapes = state["answer/tokens/shapes"]
    for damage in (
        {"answer/tokens/shapes": shapes[:-1]},
        {"answer/tokens/shapes": shapes + 1},
        {"answer/action/shapes": None},
        {"answer/tokens/values": None},
    ):
        damaged = {key: tensor for key, tensor in (state | damage).items() if tensor is not None}
        with pytest.raises(CheckpointError, match="do not go together"):
            other.load_state(damaged)
    assert len(other.thoughts) == len(data.thoughts), "nothing has changed"
    nothing = Thoughts(ImitationSettings())
    nothing.load_state(Thoughts(ImitationSettings()).state())
    assert nothing.thoughts == []


def test_a_share_of_the_turns_is_drawn_in_order(rollout: Rollout) -> None:
    turns = rollout.flat()
    chosen = chosen_turns(turns, 0.5, np.random.default_rng(0))
    identities = [id(turn) for turn in turns]
    places = [identities.index(id(turn)) for turn in chosen]
    assert places == sorted(set(places))
    assert len(places) == len(turns) // 2
    assert [id(turn) for turn in chosen_turns(turns, 1.0, np.random.default_rng(0))] == identities


def test_the_data_set_is_kept_off_the_model_s_device(rollout: Rollout) -> None:
    away = [Thought(thought.prompt.to("meta"), thought.tokens, thought.action_mask) for thought in some(2, rollout)]
    moved: list[str] = []
    for thought in away:
        thought.prompt.__dict__["to"] = lambda device: moved.append(str(device)) or rollout.flat()[0].prompt
    data = Thoughts(ImitationSettings())
    data.add(away)
    assert moved == ["cpu", "cpu"]
    assert all(tensor.device.type == "cpu" for thought in data.thoughts for tensor in thought.prompt.picture.values())


def test_thoughts_keep_to_the_budget_of_tokens(
    actor: ActorCritic, rollout: Rollout, settings: Settings, processor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def watch(actor: ActorCritic, thoughts: list[Thought], pad: int) -> Any:
        prompts = [len(thought.prompt.tokens["input_ids"]) for thought in thoughts]
        sizes.append(len(thoughts) * (max(prompts) + max(len(thought.tokens) for thought in thoughts)))
        return imitation_loss(actor, thoughts, pad)

    monkeypatch.setattr("gtr_agent.ppo.imitation_loss", watch)
    settings = changed(settings, "gtr", ppo={"micro_batch_tokens": 500}, imitation={"batch_size": 9})
    pad, data = processor.tokenizer.pad_token_id, Thoughts(settings.imitation)
    data.add(corrected(rollout, processor))
    experience = prepare(actor, rollout, settings, pad, None, Workers(1), Clock())
    optimizer = make_optimizer(actor, settings.ppo)
    Update(actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1), thoughts=data)(experience)
    assert len(sizes) > 2
    assert max(sizes) <= 500


def test_thoughts_whose_loss_is_not_finite_are_the_batch_that_is_saved(
    actor: ActorCritic,
    rollout: Rollout,
    settings: Settings,
    processor: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(actor: ActorCritic, thoughts: list[Thought], pad: int) -> Any:
        loss, count = imitation_loss(actor, thoughts, pad)
        return loss * torch.nan, count

    monkeypatch.setattr("gtr_agent.ppo.imitation_loss", lost)
    settings = changed(settings, "gtr")
    pad, data = processor.tokenizer.pad_token_id, Thoughts(settings.imitation)
    data.add(corrected(rollout, processor))
    experience = prepare(actor, rollout, settings, pad, None, Workers(1), Clock())
    before = {name: weight.detach().clone() for name, weight in actor.named_parameters()}
    optimizer = make_optimizer(actor, settings.ppo)
    update = Update(
        actor, optimizer, settings.ppo, pad, np.random.default_rng(0), Workers(1), thoughts=data, out=tmp_path
    )
    with pytest.raises(DivergedError, match="loss became nan"):
        update(experience)
    folder = tmp_path / "diverged" / "rank-0"
    assert [path.name for path in folder.iterdir()] == ["thoughts.safetensors"]
    answers = {tuple(thought.tokens) for thought in data.thoughts}
    saved = load_file(folder / "thoughts.safetensors")
    assert tuple(saved["thought-0/answer"].tolist()) in answers
    assert all(torch.equal(weight, before[name]) for name, weight in actor.named_parameters())


def test_what_a_corrector_s_endpoint_cost_is_logged_and_known_after_a_restart(
    rollout: Rollout, processor: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai", reason="needs the extra api: pip install 'gtr-bench[api]'")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    turns = rollout.flat()[:2]
    with serve(lambda number, asked: Act(text="no idea")) as server:
        own = CorrectorSettings(kind="endpoint", model="m", base_url=server.url, price_in=1000.0)
        seen = []
        for _ in range(2):  # the second time as after a restart: the same corrections, already paid for
            corrector = make_corrector(own, settings.env, tmp_path)
            for asked in (turns[:1], turns):
                seen.append(corrected_thoughts(corrector, processor, asked, np.random.default_rng(0))[1])
            corrector.close()
    called = {"corrector_calls": 1, "corrector_tokens_in": 100, "corrector_tokens_out": 10, "corrector_cost": 0.1}
    first, second, third, fourth = seen
    assert {name: first[name] for name in called} == pytest.approx(called)
    assert (first["corrector_cached"], first["corrector_unreadable"], first["corrector_failed"]) == (0, 1, 0)
    assert {name: second[name] for name in called} == pytest.approx(called), "of this update alone"
    assert (second["corrector_cached"], second["corrector_spent"]) == (1, pytest.approx(0.2))
    assert (third["corrector_calls"], third["corrector_cost"], third["corrector_spent"]) == (0, 0, pytest.approx(0.2))
    assert fourth["corrector_cached"] == 2
