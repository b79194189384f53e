"""The agent in training: a vision-language model with a LoRA adapter, and a value head beside it.

The value of a state is read off the last hidden state of the prompt's last token, before any of the answer (Qwen's
hidden state -> MLP -> one number, as in RL4VLM and GTR). By default the head does not train the model below it, a
departure from the paper: with a small model the value's gradient drowns the policy's.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gtr_agent.batches import FEATURES, AnswerBatch
from gtr_agent.config import ModelSettings
from gtr_agent.folding import folded, folded_for_training, folded_weights
from gtr_agent.losses import entropy, token_log_probs
from gtr_agent.model import Precision, PromptBatch, autocast, join


@dataclass(frozen=True)
class Scores:
    """What one pass says of given answers.

    Attributes:
        log_probs: (turns, tokens) in nats, of each answer token given all before it; 0 where there is no token.
        values: (turns,) of the states.
        entropy: (turns, tokens) in nats, of the distribution that each token was drawn from; 0 where there is none.
        states: (turns, hidden size), what the value head reads, without gradient.
    """

    log_probs: Tensor
    values: Tensor
    entropy: Tensor
    states: Tensor


def make_value_head(width: int, hidden: Sequence[int], seed: int) -> nn.Sequential:
    """An MLP from a hidden state to a value; its last layer starts at zero, so that the first values are 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(width, size), nn.ReLU()]
            width = size
        last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)


def lora_targets(model: Any, vision: bool) -> list[str]:
    """The full names of the linear layers to adapt: those of the language model, and of the vision tower if wished."""
    head = model.get_output_embeddings()
    names = []
    for name, module in model.named_modules():
        is_vision = any(part in {"visual", "vision_tower", "vision_model"} for part in name.split("."))
        if isinstance(module, nn.Linear) and module is not head and (vision or not is_vision):
            names.append(name)
    return names


def add_lora(model: Any, settings: ModelSettings, seed: int) -> Any:
    """The model with a fresh LoRA adapter (https://arxiv.org/abs/2106.09685) that changes nothing yet."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=lora_targets(model, settings.lora_vision),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, config)


class ActorCritic(nn.Module):
    """Policy and value of one model.

    Args:
        model: a causal vision-language model, with or without a PEFT adapter.
        value_head: hidden state -> value, or None where no values are wanted.
        temperature: of the policy's distribution.
        precision: of the forward passes.
        value_detach: whether the value's gradient stops at the head.
        cache_features: keep pictures as features rather than as pixels; only where the vision tower is frozen.
        train_folded: train the adapter through folded weights, see :mod:`gtr_agent.folding`.
    """

    def __init__(
        self,
        model: Any,
        value_head: nn.Module | None,
        *,
        temperature: float,
        precision: Precision,
        value_detach: bool = True,
        cache_features: bool = False,
        train_folded: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.value_head = value_head
        self.temperature = temperature
        self.precision = precision
        self.value_detach = value_detach
        self.train_folded = train_folded
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list, so that its weights are not registered a second time
        self.placeholders = placeholder_tokens(causal.config)
        takes_features = "mm_encoder_outputs" in inspect.signature(causal.forward).parameters
        self.cache_features = cache_features and takes_features

    @property
    def causal(self) -> Any:
        """The causal model itself, whose layers hold the adapter."""
        return self._causal[0]

    def folded(self) -> AbstractContextManager[None]:
        """Within it, passes without gradients are faster: the adapter is folded into the weights."""
        return folded(self.model, folded_weights(self.model, precision=self.precision))

    def as_trained(self) -> AbstractContextManager[None]:
        """Within it, passes without gradients compute as those of the update do."""
        return self.folded() if self.train_folded else nullcontext()

    @contextmanager
    def trained_weights(self) -> Iterator[list[Tensor]]:
        """The tensors to take gradients of; on leaving, the adapter's and the value head's weights have theirs."""
        head = list(self.value_head.parameters()) if self.value_head is not None else []
        if self.train_folded:
            with folded_for_training(self.model) as weights:
                yield [*weights, *head]
        else:
            yield [*(weight for weight in self.model.parameters() if weight.requires_grad), *head]

    def picture_features(self, prompt: PromptBatch) -> list[Tensor] | None:
        """Each picture's features, (visual tokens, hidden size), or None where pixels are to be kept."""
        if not self.cache_features:
            return None
        with torch.no_grad(), autocast(self.precision, prompt.inputs["input_ids"].device.type):
            output = self.causal.get_image_features(
                prompt.inputs["pixel_values"], prompt.inputs["image_grid_thw"], return_dict=True
            )
        return [features.detach().clone() for features in output.pooler_output]

    def hidden_states(self, inputs: dict[str, Tensor]) -> Tensor:
        """The last hidden states, (turns, tokens, hidden size)."""
        inputs = as_model_inputs(inputs)
        return self.causal.base_model(**inputs, use_cache=False).last_hidden_state

    def score(self, prompt: PromptBatch, answers: AnswerBatch, with_entropy: bool = False) -> Scores:
        """Log-probs of given answers and values of their states, in one pass, pictures included.

        The vocabulary's logits are made for answer tokens alone.
        """
        mask = answers.mask
        with autocast(self.precision, mask.device.type):
            hidden = self.hidden_states(join(prompt, answers.tokens, mask))
            before = hidden[:, prompt.width - 1 : -1]  # (turns, tokens, hidden): the state that each token follows
            logits = self.causal.get_output_embeddings()(before[mask])
        logits = self.writable(logits)
        log_probs = scatter(token_log_probs(logits, answers.tokens[mask], self.temperature), mask)
        uncertainty = torch.zeros_like(log_probs)
        if with_entropy:
            uncertainty = scatter(entropy(logits.detach(), self.temperature), mask)
        states = hidden[:, prompt.width - 1]
        return Scores(log_probs, self.value(states), uncertainty, states.detach().float())

    def writable(self, logits: Tensor) -> Tensor:
        """The logits of what the policy may write, (..., vocabulary) in float32: anything but a picture's placeholder.

        A placeholder in an answer would be read as a picture that is not there.
        """
        logits = logits.float()
        if not self.placeholders:
            return logits
        return logits.index_fill(-1, torch.tensor(self.placeholders, device=logits.device), -torch.inf)

    def states(self, prompt: PromptBatch) -> Tensor:
        """What the value head reads of states without answers, (turns, hidden size), without gradient."""
        with torch.no_grad(), autocast(self.precision, prompt.inputs["input_ids"].device.type):
            return self.hidden_states(prompt.inputs)[:, -1].float()

    def value(self, hidden: Tensor) -> Tensor:
        """The value head on hidden states (turns, hidden size), in float32."""
        if self.value_head is None:
            return hidden.new_zeros(len(hidden), dtype=torch.float32)
        hidden = hidden.float()
        return self.value_head(hidden.detach() if self.value_detach else hidden).squeeze(-1)


def placeholder_tokens(config: Any) -> list[int]:
    """The tokens of a model's configuration that stand for pictures and films."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    found = {getattr(config, name, None) for name in names}
    return sorted(token for token in found if isinstance(token, int))


def scatter(values: Tensor, mask: Tensor) -> Tensor:
    """Put values (number of True,) where the mask (turns, tokens) is True, zeros elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


def as_model_inputs(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """A batch's tensors as the model takes them: picture features, where kept, go in as the vision tower's output."""
    arguments: dict[str, Any] = dict(inputs)
    features = arguments.pop(FEATURES, None)
    if features is not None:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        arguments["mm_encoder_outputs"] = {"image": BaseModelOutputWithPooling(pooler_output=(features,))}
    return arguments
