"""The settings of a run, section by section: what each means and what is allowed.

:mod:`gtr_agent.config` reads them from presets, files and the command line.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

TRAINING_SEED_STRIDE = 1_000_000_000
"""Each kind of training episode has a range of seeds of its own, all far below the evaluation seeds."""

Method = Literal["sft", "ppo", "gtr", "opd", "gtr-turbo-sft", "gtr-turbo-kl"]


class Section(BaseModel):
    """A group of settings; a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class EnvSettings(Section):
    """The environment that is trained on."""

    id: str = Field("gtr/Points24-v0", description="Gymnasium id of an environment that speaks the protocol")
    invalid: Literal["penalty", "random"] = Field(
        "penalty", description="an answer that cannot be read: costs 1 and changes nothing, or plays a random action"
    )
    options: dict[str, Any] = Field(
        default_factory=lambda: {"split": "train"}, description="options of the environment, such as split or illegal"
    )


class ModelSettings(Section):
    """The model and its adapter."""

    base: str = Field(
        "tiny",
        description="a folder in the Hugging Face layout, a name on the hub, a packaged agent such as tiny:points24, "
        "or 'tiny' for the tiny model with random weights",
    )
    adapter: Literal["lora", "none"] = Field(
        "lora", description="warm start: train a LoRA adapter, or all weights ('none'); RL always trains an adapter"
    )
    lora_rank: int = Field(16, ge=1, description="rank of the adapter's factors")
    lora_alpha: float = Field(32.0, gt=0, description="the adapter's change is scaled by alpha / rank")
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs dropped while training")
    train_folded: bool = Field(
        False,
        description="RL takes gradients of the weights with the adapter folded in: faster for small models; needs room "
        "for a gradient of each adapted weight",
    )
    collect_folded: Literal["auto"] | bool = Field(
        "auto",
        description="RL samples with the adapter folded into the weights; auto: where train_folded learns so too, or "
        "where nothing is lost by it, as small changes are in bfloat16",
    )
    lora_vision: bool = Field(False, description="adapt the vision tower's linear layers too, as the paper does")
    attention: Literal["eager", "sdpa"] = Field("eager", description="attention kernels; eager trains fastest on a CPU")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of the forward passes; on a GPU also of the weights, but for those that are trained without an "
        "adapter; auto: bfloat16 where the machine is faster in it, see gtr-bench doctor",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    gradient_checkpointing: bool = Field(False, description="compute layers anew in the backward pass: less memory")
    logit_chunk: int = Field(0, ge=0, description="answer tokens whose logits exist at a time; 0 for all")

    @model_validator(mode="after")
    def _folding_knows_no_dropout(self) -> ModelSettings:
        if self.train_folded and self.lora_dropout:
            raise ValueError(
                f"lora_dropout={self.lora_dropout} cannot be had with train_folded=true; set one of them to 0 or false"
            )
        return self


class SftSettings(Section):
    """The supervised warm start on an expert's episodes."""

    thoughts: Literal["chain", "search"] = Field("chain", description="how the solver thinks aloud")
    chain_steps: int = Field(0, ge=0, description="with search: steps at first in which it thinks in chains")
    episodes: int = Field(
        400,
        ge=1,
        description="episodes that the expert plays beforehand; the usual Points24 is drawn without end instead",
    )
    noise: float = Field(
        0.0, ge=0, lt=1, description="chance that a random action is played for the expert's, to show how it recovers"
    )
    steps: int = Field(1000, ge=1, description="optimiser steps")
    batch_size: int = Field(32, ge=1, description="turns with picture in a step")
    text_batch_size: int = Field(0, ge=0, description="turns learned without picture and prompt in a step")
    fact_batch_size: int = Field(
        0, ge=0, description="pieces of thoughts in a step: how three values make 24, or that they cannot"
    )
    micro_batch_size: int = Field(64, ge=1, description="turns in one forward pass")
    prompt_weight: float = Field(
        0.0,
        ge=0,
        le=1,
        description="weight of a prompt's tokens beside the answer's 1 (https://arxiv.org/abs/2405.14394)",
    )
    first_turn_share: float = Field(0.5, ge=0, le=1, description="usual Points24: share of first turns")
    learning_rate: float = Field(3e-3, gt=0, description="the highest one, after warming up")
    warmup_steps: int = Field(30, ge=0, description="steps over which the learning rate rises")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW, on matrices alone")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this")
    eval_every: int = Field(400, ge=0, description="steps between looks at the agent's play; 0 for never")
    eval_episodes: int = Field(64, ge=1, description="episodes of such a look")


class RolloutSettings(Section):
    """How turns are collected."""

    num_envs: int = Field(64, ge=1, description="environments side by side, on each process")
    turns: int = Field(16, ge=1, description="turns per environment and update")
    temperature: float = Field(1.0, gt=0, description="what the logits are divided by, in sampling and scoring alike")
    max_new_tokens: int = Field(96, ge=1, description="tokens after which an answer is cut off")
    format_reward: float = Field(0.0, description="added to the reward of an answer that was read strictly")
    repaired_reward: float = Field(0.0, description="added to the reward of an answer that had to be repaired")
    invalid_reward: float = Field(
        0.0, description="added to the reward of an answer that cannot be read, beside what env.invalid does"
    )


class PpoSettings(Section):
    """Proximal policy optimisation (https://arxiv.org/abs/1707.06347) over turns."""

    updates: int = Field(15, ge=1, description="how many rollouts are learned from")
    epochs: int = Field(4, ge=1, description="passes over a rollout")
    batch_size: int = Field(128, ge=1, description="turns in one optimiser step")
    micro_batch_size: int = Field(
        64, ge=1, description="turns in one forward pass; changes memory, and results by rounding alone"
    )
    learning_rate: float = Field(4e-4, gt=0, description="of the adapter, in the first update")
    final_learning_rate: float = Field(0.0, ge=0, description="what the cosine reaches behind the last update")
    adam_beta2: float = Field(0.98, gt=0, lt=1, description="memory of the squared gradients")
    adam_eps: float = Field(1e-7, gt=0, description="added to the square root of the squared gradients")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this")
    micro_batch_tokens: int = Field(
        0,
        ge=0,
        description="tokens in one forward pass, padding included, instead of micro_batch_size turns; 0 for off",
    )
    ratio: Literal["turn", "token"] = Field("turn", description="the importance ratio is of whole turns or of tokens")
    clip_range: float = Field(0.2, gt=0, description="how far a ratio may gain from moving away from 1")
    thought_coef: float = Field(0.5, ge=0, description="weight of the thought's log-prob beside the action's (lambda)")
    value_coef: float = Field(0.5, ge=0, description="weight of the value loss")
    value_hidden: tuple[int, ...] = Field((256,), description="widths of the value head's hidden layers")
    value_learning_rate: float = Field(1e-3, gt=0, description="of the value head")
    value_warmup_steps: int = Field(
        100, ge=0, description="steps that fit the new value head to the first rollout before it is used"
    )
    value_detach: bool = Field(True, description="the value head does not train the model below it")
    gamma: float = Field(0.95, ge=0, le=1, description="discount for each turn")
    gae_lambda: float = Field(
        0.95, ge=0, le=1, description="lambda of generalised advantage estimation: 0 one step, 1 whole episodes"
    )
    whiten_advantages: bool = Field(True, description="advantages get mean 0 and deviation 1 over the rollout")

    @field_validator("value_hidden")
    @classmethod
    def _layers_have_a_width(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width < 1 for width in widths):
            raise ValueError("every width must be 1 or more; [] is a linear value head")
        return widths


class GuidanceSettings(Section):
    """The teacher's part (GTR-Turbo, https://arxiv.org/abs/2512.13043)."""

    beta: float = Field(10.0, ge=0, description="reward or advantage lost per nat of mean KL a token")
    estimator: Literal["k1", "clip", "abs", "k3", "full"] = Field(
        "clip", description="of the per-token KL; clip keeps it from 0 to 10, full sums over the vocabulary"
    )
    direction: Literal["reverse", "forward"] = Field("reverse", description="KL(agent || teacher), or the other way")
    scope: Literal["thought", "all"] = Field("thought", description="which tokens of an answer are guided")
    place: Literal["reward", "advantage"] = Field(
        "reward", description="where the KL enters: the reward (Algorithm 2), or the advantage (Eq. 6)"
    )
    teacher: str = Field(
        "", description="opd: the model to distil from, a folder, a name on the hub or a packaged agent's"
    )


class ImitationSettings(Section):
    """The SFT term of gtr and gtr-turbo-sft: the agent learns the teacher's thoughts beside PPO."""

    weight: float = Field(1.0, ge=0, description="of the SFT loss, in nats a token, beside PPO's")
    batch_size: int = Field(32, ge=1, description="thoughts in one optimiser step")
    dataset: Literal["accumulate", "latest"] = Field(
        "accumulate", description="learn from all thoughts so far (DAgger), or from the last update's alone"
    )
    capacity: int = Field(8192, ge=1, description="thoughts that are kept; the oldest go first")
    share: float = Field(1.0, gt=0, le=1, description="share of an update's turns for which the teacher is asked")
    greedy: bool = Field(True, description="gtr-turbo-sft: the teacher's likeliest thought, or a sampled one")


class CorrectorSettings(Section):
    """Who corrects thoughts in gtr."""

    kind: Literal["solver", "endpoint", "checkpoint"] = Field(
        "solver", description="the environment's own expert, an OpenAI-compatible endpoint, or a local checkpoint"
    )
    model: str = Field("", description="the endpoint's model, or the checkpoint's folder or packaged name")
    base_url: str = Field("", description="of the endpoint; empty for OPENAI_BASE_URL")
    cache: str = Field("", description="folder of the answers already paid for; empty for the run's own folder")
    offline: bool = Field(False, description="answer from the cache alone, as when a run is repeated")
    concurrency: int = Field(8, ge=1, description="calls at a time")
    retries: int = Field(5, ge=0, description="further attempts after a failed call, with growing pauses")
    timeout_s: float = Field(60.0, gt=0, description="seconds that a call may take")
    max_tokens: int = Field(512, ge=1, description="tokens after which a correction is cut off")
    temperature: float = Field(0.0, ge=0, description="of the corrector's sampling")
    price_in: float = Field(0.0, ge=0, description="USD for a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="USD for a million answer tokens")
    max_cost: float = Field(0.0, ge=0, description="USD at which the run stops; 0 for no cap")


class AlarmSettings(Section):
    """What happens when the agent collapses."""

    action: Literal["warn", "stop", "off"] = Field(
        "warn", description="say what collapsed, stop the run too, or neither"
    )
    patience: int = Field(2, ge=1, description="updates in a row before the alarm")


class MergeSettings(Section):
    """How checkpoints become the teacher (TIES, https://arxiv.org/abs/2306.01708)."""

    method: Literal["ties", "linear"] = Field(
        "ties", description="linear: the weighted mean, without trim and election"
    )
    space: Literal["delta", "factors"] = Field(
        "delta", description="merge each layer's weight change B @ A, or its factors A and B apart (the released code)"
    )
    density: float = Field(0.8, gt=0, le=1, description="share of entries of each weight change that trimming keeps")
    weights: Literal["ema", "sma"] = Field("ema", description="all checkpoints alike, or the newer ones more")
    ema_alpha: float = Field(0.5, gt=0, le=1, description="weight of the newest checkpoint")
    every: int = Field(1, ge=1, description="updates between merges")
    keep_on: Literal["auto", "model", "cpu"] = Field(
        "auto",
        description="where the merged adapters are kept; auto: on the model's device where they take a quarter "
        "of its memory at most, else in the machine's",
    )


class Settings(Section):
    """All settings of a run."""

    method: Method = Field("gtr-turbo-kl", description="how the agent is trained; docs/method.md describes each")
    seed: int = Field(0, ge=0, le=900, description="of the model's fresh weights, the rollouts and the shuffling")
    threads: int = Field(0, ge=0, description="CPU threads; 0 for one for each core")
    keep_checkpoints: int = Field(0, ge=0, description="how many checkpoints stay on disk; 0 keeps all")
    env: EnvSettings = Field(default_factory=EnvSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    sft: SftSettings = Field(default_factory=SftSettings)
    rollout: RolloutSettings = Field(default_factory=RolloutSettings)
    ppo: PpoSettings = Field(default_factory=PpoSettings)
    guidance: GuidanceSettings = Field(default_factory=GuidanceSettings)
    imitation: ImitationSettings = Field(default_factory=ImitationSettings)
    corrector: CorrectorSettings = Field(default_factory=CorrectorSettings)
    merge: MergeSettings = Field(default_factory=MergeSettings)
    alarm: AlarmSettings = Field(default_factory=AlarmSettings)
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        (), description="where metrics go beside metrics.jsonl"
    )

    @model_validator(mode="after")
    def _method_has_what_it_needs(self) -> Settings:
        if self.method == "opd" and not self.guidance.teacher:
            raise ValueError("method='opd' distils a teacher; set guidance.teacher to its folder or name")
        if self.method == "gtr" and self.corrector.kind != "solver" and not self.corrector.model:
            raise ValueError(f"corrector.kind={self.corrector.kind!r} needs corrector.model")
        return self

    @model_validator(mode="after")
    def _batches_fit(self) -> Settings:
        turns = self.rollout.num_envs * self.rollout.turns
        if self.ppo.batch_size > turns:
            raise ValueError(
                f"ppo.batch_size={self.ppo.batch_size} is more than an update's turns, "
                f"rollout.num_envs * rollout.turns = {turns}"
            )
        return self

    def training_seed(self, kind: Literal["rollout", "demonstration", "monitor"], index: int) -> int:
        """The seed of a training episode: its own range for each kind and run seed, below the evaluation seeds."""
        return (
            {"rollout": 1, "demonstration": 2, "monitor": 3}[kind] * TRAINING_SEED_STRIDE
            + self.seed * 1_000_000
            + index
        )
