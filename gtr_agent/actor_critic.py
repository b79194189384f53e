"""The agent in training: a vision-language model with a LoRA adapter, and a value head beside it.

The value of a state is read off the last hidden state of the prompt's last token, before any of the answer (Qwen's
hidden state -> MLP -> one number, as in RL4VLM and GTR). By default the head does not train the model below it, a
departure from the paper: with a small model the value's gradient drowns the policy's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gtr_agent.batches import AnswerBatch
from gtr_agent.features import as_model_inputs, takes_features, tower_features
from gtr_agent.folding import (
    adapter_factors,
    beside,
    folded,
    folded_for_training,
    folded_weights,
    folds_exactly,
)
from gtr_agent.layout import PromptBatch, join
from gtr_agent.logits import chunked_log_probs
from gtr_agent.losses import entropy_of, log_probs_of
from gtr_agent.model import autocast
from gtr_agent.positions import token_positions
from gtr_agent.precision import Precision
from gtr_envs.errors import CheckpointError


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
        collect_folded: sample with the adapter folded into the weights; None where that is what is trained, or where
            folding keeps every change.
        logit_chunk: of how many answer tokens the vocabulary's logits are held at once, see :mod:`gtr_agent.logits`; 0
            for all, which is faster for small vocabularies.
        gradient_checkpointing: while training, keep only what goes into each layer and compute the rest again in the
            backward pass: much less memory for a third more time.
        sharded: the model's weights are spread over several processes; nothing is folded into them then.

    Raises:
        CheckpointError: the model bends its logits in a way that scoring would miss.
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
        collect_folded: bool | None = None,
        logit_chunk: int = 0,
        gradient_checkpointing: bool = False,
        sharded: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.value_head = value_head
        self.temperature = temperature
        self.precision = precision
        self.value_detach = value_detach
        self.train_folded = train_folded
        self.collect_folded = collect_folded
        self.sharded = sharded
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._causal = [causal]  # in a list, so that its weights are not registered a second time
        self.placeholders = placeholder_tokens(causal.config)
        check_plain_logits(causal.config)
        self.logit_chunk = logit_chunk
        self.cache_features = cache_features and takes_features(causal)
        self.features_settled = not self.cache_features
        if gradient_checkpointing:
            checkpoint_layers(causal)

    @property
    def causal(self) -> Any:
        """The causal model itself, whose layers hold the adapter."""
        return self._causal[0]

    @property
    def folds(self) -> bool:
        """Whether a change may be folded into the weights: training does so itself, or nothing is lost by it."""
        return not self.sharded and (self.train_folded or folds_exactly(self.model, self.precision))

    def folded(self) -> AbstractContextManager[None]:
        """Within it, passes without gradients are faster: the adapter is folded into the weights."""
        return folded(self.model, folded_weights(self.model, precision=self.precision))

    def as_collected(self) -> AbstractContextManager[None]:
        """Within it, passes without gradients are faster: for sampling what :meth:`as_trained` will score."""
        if self.folds if self.collect_folded is None else self.collect_folded:
            return self.folded()
        return beside(self.model, adapter_factors(self.model, self.precision))

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

    def settle_features(self, prompt: PromptBatch) -> None:
        """Decide by a first prompt, for good, whether pictures are kept as features: where one turn has one entry.

        Args:
            prompt: of one turn. A model that cuts its pictures up gives several entries for it; pixels are kept then.
        """
        self.features_settled = True
        if self.cache_features:
            self.cache_features = (
                len(tower_features(self.causal, prompt, self.precision)) == len(prompt.inputs["input_ids"]) == 1
            )

    def picture_features(self, prompt: PromptBatch) -> list[Tensor] | None:
        """Each turn's picture as features, (visual tokens, 1 + deep layers, hidden size); None to keep pixels.

        Raises:
            CheckpointError: there is not one picture's features a turn, though a first turn had them so.
        """
        if not self.cache_features:
            return None
        features = tower_features(self.causal, prompt, self.precision)
        turns = len(prompt.inputs["input_ids"])
        if len(features) != turns:
            raise CheckpointError(
                f"the model gives {len(features)} pictures' features for {turns} turns of one picture each, though it "
                "gave one for the first turn; pictures of one environment must be of one size"
            )
        return features

    def hidden_states(self, inputs: dict[str, Tensor], first: int = 0) -> Tensor:
        """The last hidden states from a column on, (turns, tokens from there on, hidden size)."""
        positions, _ = token_positions(self.causal, inputs)
        output = self.causal.base_model(**as_model_inputs(inputs), **positions, use_cache=False)
        return output.last_hidden_state[:, first:]

    def score(self, prompt: PromptBatch, answers: AnswerBatch, with_entropy: bool = False) -> Scores:
        """Log-probs of given answers and values of their states, in one pass, pictures included.

        The vocabulary's logits are made for answer tokens alone.
        """
        mask = answers.mask
        with autocast(self.precision, mask.device.type):
            hidden = self.hidden_states(join(prompt, answers.tokens, mask), prompt.width - 1)
            before = hidden[:, :-1]  # (turns, tokens, hidden): the state that each token follows
            log_probs, uncertainty = self.read_out(before[mask], answers.tokens[mask], with_entropy)
        spread = scatter(log_probs, mask)
        states = hidden[:, 0]
        return Scores(
            spread,
            self.value(states),
            scatter(uncertainty, mask) if uncertainty is not None else torch.zeros_like(spread),
            states.detach().float(),
        )

    def answer_states(self, prompt: PromptBatch, answers: AnswerBatch) -> Tensor:
        """The state that each answer token follows, (answer tokens of all turns, hidden size), without gradient.

        For :func:`gtr_agent.logits.vocabulary_kl`, which compares two models that share the output layer.
        """
        with torch.no_grad(), autocast(self.precision, answers.mask.device.type):
            hidden = self.hidden_states(join(prompt, answers.tokens, answers.mask), prompt.width - 1)
        return hidden[:, :-1][answers.mask]

    def read_out(self, states: Tensor, tokens: Tensor, with_entropy: bool) -> tuple[Tensor, Tensor | None]:
        """Log-probs of the tokens that follow states (tokens, hidden size), and the entropies if wanted; (tokens,)."""
        head = self.causal.get_output_embeddings()
        if self.logit_chunk and type(head) is nn.Linear:
            return chunked_log_probs(
                states,
                head,
                tokens,
                temperature=self.temperature,
                forbidden=self.placeholders,
                chunk=self.logit_chunk,
                with_entropy=with_entropy,
            )
        log_probs = log_probs_of(self.writable(head(states)), self.temperature)
        uncertainty = entropy_of(log_probs.detach()) if with_entropy else None
        return log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), uncertainty

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
            return self.hidden_states(prompt.inputs, prompt.width - 1)[:, -1].float()

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


def checkpoint_layers(causal: Any) -> None:
    """While it trains, let a model keep only what goes into each layer and compute the rest again for gradients."""
    # The reentrant kind finds no gradient to pass on where the embeddings are frozen. Newer transformers have the first
    # name and warn of the second.
    enable = getattr(causal, "activation_checkpointing_enable", None) or causal.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # For the reentrant kind's sake it also asked for gradients of all embeddings, a frozen vision tower's included.
    causal.disable_input_require_grads()


def check_plain_logits(config: Any) -> None:
    """Refuse models whose logits are not simply the output layer's.

    Raises:
        CheckpointError: this is one.
    """
    text = config.get_text_config()
    for name, plain in (("final_logit_softcapping", None), ("logits_scaling", 1), ("logit_scale", 1)):
        if getattr(text, name, None) not in (None, plain):
            raise CheckpointError(
                f"this model bends its logits ({name}={getattr(text, name)}), which scoring would miss; models whose "
                f"logits are those of the output layer can be trained"
            )
