"""Log-probs in chunks are those of the whole, gradients included, and no larger tensor is ever made."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gtr_agent.actor_critic import ActorCritic
from gtr_agent.batches import stack_answers
from gtr_agent.layout import PromptBatch
from gtr_agent.logits import chunked_log_probs, vocabulary_kl
from gtr_agent.losses import entropy

VOCABULARY, FORBIDDEN = 23, (4, 17)


def plain(hidden: Tensor, head: nn.Linear, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The textbook: all logits at once, gradients by torch."""
    logits = head(hidden) / temperature
    keep = torch.ones(VOCABULARY, dtype=torch.bool)
    keep[list(FORBIDDEN)] = False
    log_probs = logits.masked_fill(~keep, -torch.inf).log_softmax(-1)
    share = logits[:, keep].log_softmax(-1)
    return log_probs.gather(1, tokens[:, None])[:, 0], -(share.exp() * share).sum(-1)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_chunks_give_the_plain_log_probs_entropies_and_gradients(bias: bool, chunk: int, temperature: float) -> None:
    torch.manual_seed(0)
    head = nn.Linear(6, VOCABULARY, bias=bias).double()
    hidden = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([0, 5, 22, 16, 3, 3, 18])
    pull = torch.randn(7, dtype=torch.float64)
    weights = [hidden, *head.parameters()]
    expected, uncertainty = plain(hidden, head, tokens, temperature)
    gradients = torch.autograd.grad(expected @ pull, weights)
    found, spread = chunked_log_probs(
        hidden, head, tokens, temperature=temperature, forbidden=FORBIDDEN, chunk=chunk, with_entropy=True
    )
    torch.testing.assert_close(found, expected)
    assert spread is not None
    torch.testing.assert_close(spread, uncertainty)
    for mine, theirs in zip(torch.autograd.grad(found @ pull, weights), gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_gradients_agree_with_finite_differences() -> None:
    torch.manual_seed(1)
    head = nn.Linear(4, 9).double()
    hidden = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([0, 8, 3, 3, 1])

    def log_probs(states: Tensor, *_: Tensor) -> Tensor:
        return chunked_log_probs(states, head, tokens, temperature=0.7, forbidden=(2,), chunk=2)[0]

    assert torch.autograd.gradcheck(log_probs, (hidden, *head.parameters()))


def test_one_token_by_hand() -> None:
    head = nn.Linear(1, 3, bias=False)
    head.weight.data = torch.tensor([[math.log(2.0)], [math.log(6.0)], [50.0]])  # odds 2 : 6, the third is forbidden
    hidden = torch.ones(1, 1, requires_grad=True)
    log_probs, spread = chunked_log_probs(hidden, head, torch.tensor([1]), forbidden=(2,), chunk=1, with_entropy=True)
    assert log_probs.item() == pytest.approx(math.log(0.75))
    assert spread is not None
    assert spread.item() == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    log_probs.sum().backward()
    assert hidden.grad is not None  # log 6 less the mean logit, 0.25 log 2 + 0.75 log 6
    assert hidden.grad.item() == pytest.approx(0.25 * (math.log(6.0) - math.log(2.0)))


@pytest.mark.parametrize("frozen", [False, True])
def test_under_autocast_chunks_round_as_the_whole_does(frozen: bool) -> None:
    torch.manual_seed(2)
    head = nn.Linear(16, 64, bias=False).requires_grad_(not frozen)
    hidden = torch.randn(10, 16, requires_grad=True)
    tokens = torch.arange(10)
    wanted = [hidden] if frozen else [hidden, head.weight]
    with torch.autocast("cpu", torch.bfloat16):
        expected = head(hidden).float().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        found, _ = chunked_log_probs(hidden, head, tokens, chunk=4)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad(found.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(mine, theirs, atol=2e-2, rtol=2e-2)


def test_nothing_to_score_is_no_error() -> None:
    found, spread = chunked_log_probs(
        torch.zeros(0, 3, requires_grad=True), nn.Linear(3, 5), torch.zeros(0, dtype=torch.long), chunk=2
    )
    assert found.shape == (0,)
    assert spread is None
    found.sum().backward()


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("chunk", [0, 2])
def test_the_kl_over_the_vocabulary(forward: bool, chunk: int) -> None:
    torch.manual_seed(3)
    head = nn.Linear(6, VOCABULARY, bias=False)
    agent, teacher = torch.randn(5, 6), torch.randn(5, 6)
    found = vocabulary_kl(agent, teacher, head, temperature=0.5, forbidden=FORBIDDEN, chunk=chunk, forward=forward)
    keep = [token for token in range(VOCABULARY) if token not in FORBIDDEN]
    log_p, log_q = ((head(states)[:, keep] / 0.5).log_softmax(-1) for states in (agent, teacher))
    log_p, log_q = (log_q, log_p) if forward else (log_p, log_q)
    torch.testing.assert_close(found, nn.functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(-1))
    assert (found > 0).all()
    torch.testing.assert_close(vocabulary_kl(agent, agent, head), torch.zeros(5))
    half = nn.Linear(3, VOCABULARY, bias=False)  # a teacher of another width
    half.weight.data = 2 * head.weight.data[:, :3]
    narrow = torch.cat([teacher[:, :3], torch.zeros(5, 3)], dim=1) * 2
    torch.testing.assert_close(
        vocabulary_kl(agent, teacher[:, :3], head, teacher_head=half), vocabulary_kl(agent, narrow, head)
    )


class VocabularyWatch(TorchDispatchMode):
    """Notes how many rows the tensors have whose last dimension is the vocabulary's."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary, self.most = vocabulary, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, tuple | list) else [output]:
            if isinstance(tensor, Tensor) and tensor.ndim > 1 and tensor.shape[-1] == self.vocabulary:
                rows = tensor.numel() // self.vocabulary
                # The output layer's own weight, turned over, is no logits.
                self.most = max(self.most, rows if rows != 128 else 0)
        return output


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_logits_are_made_of_prompts_and_no_more_than_a_chunk_of_answers(
    actor: ActorCritic, processor: Any, picture_prompts: PromptBatch, precision: Any
) -> None:
    lengths = [11, 4, 9, 1]
    answers = stack_answers([[400] * n for n in lengths], [[False] * n for n in lengths], 0)
    actor.precision = precision
    vocabulary = actor.causal.config.get_text_config().vocab_size
    found = {}
    for chunk in (0, 3):
        actor.logit_chunk = chunk
        with VocabularyWatch(vocabulary) as watch:
            scores = actor.score(picture_prompts, answers, with_entropy=True)
            scores.log_probs.sum().backward()
        assert watch.most == (chunk or sum(lengths))
        found[chunk] = scores.log_probs.detach(), scores.entropy
    for whole, chunked in zip(found[0], found[3], strict=True):
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)


@pytest.fixture
def picture_prompts(processor: Any) -> PromptBatch:
    import numpy as np

    from gtr_agent.layout import encode_prompts

    frames = [np.random.default_rng(index).integers(0, 255, (300, 300, 3), dtype=np.uint8) for index in range(4)]
    return encode_prompts(processor, ["Play.", "Play on, and on.", "Go", "Formula so far: 7"], frames)


def test_entropy_is_that_of_the_losses() -> None:
    torch.manual_seed(4)
    head, hidden = nn.Linear(6, VOCABULARY), torch.randn(5, 6)
    _, spread = chunked_log_probs(
        hidden, head, torch.zeros(5, dtype=torch.long), temperature=0.4, chunk=2, with_entropy=True
    )
    assert spread is not None
    torch.testing.assert_close(spread, entropy(head(hidden), 0.4).detach())
